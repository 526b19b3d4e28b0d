"""Load weights whose SHA-256 is the one that the metadata names."""

from pathlib import Path

import torch

from scripts.checksum import sha256_of


def load_weights(
    network: torch.nn.Module, path: str | Path, sha256: str, device: torch.device
) -> torch.nn.Module:
    """Load the state_dict of `path` into `network` and return it on `device`, in evaluation mode.

    Only tensors are unpickled, and nothing before the digest was compared.

    Raises:
        ValueError: the file's SHA-256 is not `sha256`.
    """
    if sha256_of(path) != sha256:
        raise ValueError(f"{path} is not the file that configs/metadata.json names")
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.to(device).eval()
