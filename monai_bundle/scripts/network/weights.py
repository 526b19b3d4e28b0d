"""Weights that are what the metadata says they are, or no network at all."""

import hashlib
from pathlib import Path

import torch


def sha256_of(path: str | Path) -> str:
    """Give a file's SHA-256 as 64 lower-case hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_weights(
    network: torch.nn.Module, path: str | Path, sha256: str, device: torch.device
) -> torch.nn.Module:
    """Give `network` on `device` in evaluation mode with the weights of `path`.

    Raises ValueError if the file's SHA-256 is not `sha256`; nothing of it is unpickled then, and
    never more than tensors.
    """
    if sha256_of(path) != sha256:
        raise ValueError(f"{path} is not the file that configs/metadata.json names")
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.to(device).eval()
