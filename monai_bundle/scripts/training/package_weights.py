"""Make trained weights the bundle's own.

Run it as `python -m scripts.training.package_weights SETTLED.PT [SETTLED.PT ...]`.

Writes models/model.pt and its SHA-256 into configs/metadata.json, and takes the calibration, the
operating points and the gate back to neutral: those of the weights before mean nothing for these.
There must be as many trainings as configs/inference.yaml has members.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from monai.bundle.config_parser import ConfigParser
from torch import Tensor

from scripts.network.ensemble import Reader
from scripts.network.weights import sha256_of

CONFIG: Final = Path("configs/inference.yaml")
METADATA: Final = Path("configs/metadata.json")
_KERNEL: Final = 4  # dimensions of a convolution's weights
NEUTRAL: Final[dict[str, Any]] = {
    "calibration": {"method": "none", "temperature": 1.0, "bias": 0.0},
    "operating_points": {"balanced": {"threshold": 0.5, "indeterminate": [0.5, 0.5]}},
    "default_operating_point": "balanced",
    "scope": {"least_in_scope": 0.0, "largest_distance": 1e9, "chosen_on": "nothing"},
}


def configured(name: str) -> Any:  # noqa: ANN401 -- whatever the configuration makes
    """Give an item of configs/inference.yaml, made; run from the bundle's folder."""
    config = ConfigParser()
    config.read_config(str(CONFIG))
    config.read_meta(str(METADATA))
    config["device"] = torch.device("cpu")
    return config.get_parsed_content(name)


def read_metadata() -> dict[str, Any]:
    """Give the bundle's metadata; run from the bundle's folder."""
    metadata: dict[str, Any] = json.loads(METADATA.read_text())
    return metadata


def write_metadata(metadata: dict[str, Any]) -> None:
    """Put the bundle's metadata back."""
    METADATA.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")


def assembled(reader: Reader, sources: Sequence[Path]) -> Reader:
    """Give `reader` with each of its members taken from one training's state_dict."""
    if len(sources) != len(reader.classifiers):
        raise ValueError(f"{len(sources)} trainings for {len(reader.classifiers)} members")
    for index, source in enumerate(sources):
        network = configured("network_def::network")
        network.load_state_dict(torch.load(source, map_location="cpu", weights_only=True))
        reader.load_member(index, network)
    return reader


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a state_dict as it is stored: the kernels in half precision, all else as it is.

    Half the size; what is published is the rounded network, measured and calibrated as such.
    """
    return {
        name: tensor.half() if tensor.ndim == _KERNEL and "scope" not in name else tensor.clone()
        for name, tensor in state.items()
    }


def publish(reader: Reader) -> str:
    """Write a reader's tensors as the bundle's weights and give their file's SHA-256."""
    metadata = read_metadata()
    target = Path(metadata["weights"]["path"])
    target.parent.mkdir(exist_ok=True)
    torch.save(packed(reader.state_dict()), target)
    metadata["weights"]["sha256"] = sha256_of(target)
    write_metadata(metadata)
    return str(metadata["weights"]["sha256"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, nargs="+", help="state_dicts from training")
    made = assembled(configured("network_def"), parser.parse_args().sources)
    write_metadata(read_metadata() | NEUTRAL)
    print(publish(made))
