"""Read and write the files of this bundle; every path is relative to the bundle's folder."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from monai.bundle.config_parser import ConfigParser

CONFIG: Final = Path("configs/inference.yaml")
METADATA: Final = Path("configs/metadata.json")


def read_config(folder: Path = Path()) -> ConfigParser:
    """Return the parser of configs/inference.yaml of the bundle in `folder`, on the CPU."""
    config = ConfigParser()
    config.read_config(str(folder / CONFIG))
    config.read_meta(str(folder / METADATA))
    config["bundle_root"] = str(folder)
    config["device"] = torch.device("cpu")
    return config


def build_component(name: str) -> Any:  # noqa: ANN401 -- any item of the configuration
    """Return an item of configs/inference.yaml, instantiated."""
    return read_config().get_parsed_content(name)


def read_metadata(folder: Path = Path()) -> dict[str, Any]:
    """Return configs/metadata.json of the bundle in `folder`."""
    metadata: dict[str, Any] = json.loads((folder / METADATA).read_text())
    return metadata


def write_metadata(metadata: dict[str, Any]) -> None:
    """Write configs/metadata.json."""
    METADATA.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")
