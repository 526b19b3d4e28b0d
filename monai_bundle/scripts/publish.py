"""Make trained weights the bundle's own: python -m scripts.publish BEST.PT [BEST.PT ...].

Writes models/model.pt and its SHA-256 into configs/metadata.json, and takes the calibration, the
operating points and the gate back to neutral: those of the weights before mean nothing for these.
Several trainings from one start become one network, the mean of their weights (Wortsman et al.,
"Model soups", 2022): it costs what one costs and reads like all of them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from monai.bundle.config_parser import ConfigParser
from torch import Tensor

from scripts.reader import Reader
from scripts.weights import sha256_of

CONFIG: Final = Path("configs/inference.yaml")
METADATA: Final = Path("configs/metadata.json")
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


def mean_of(sources: Sequence[Path]) -> dict[str, Tensor]:
    """Give the mean of each tensor over trainings of one network; counters are the first's."""
    states = [torch.load(source, map_location="cpu", weights_only=True) for source in sources]
    return {
        name: torch.stack([state[name] for state in states]).mean(0)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }


def publish(reader: Reader) -> str:
    """Write a reader's tensors as the bundle's weights and give their file's SHA-256."""
    metadata = read_metadata()
    target = Path(metadata["weights"]["path"])
    target.parent.mkdir(exist_ok=True)
    torch.save({name: each.contiguous() for name, each in reader.state_dict().items()}, target)
    metadata["weights"]["sha256"] = sha256_of(target)
    write_metadata(metadata)
    return str(metadata["weights"]["sha256"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, nargs="+", help="state_dicts from training")
    made: Reader = configured("network_def")
    made.network.load_state_dict(mean_of(parser.parse_args().sources))
    write_metadata(read_metadata() | NEUTRAL)
    print(publish(made))
