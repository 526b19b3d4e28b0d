"""Make a training's best weights the bundle's own: python -m scripts.publish BEST.PT.

Writes models/model.pt and its SHA-256 into configs/metadata.json, and takes the calibration and
the operating points back to neutral: those of the weights before mean nothing for these.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final

import torch

from scripts.weights import sha256_of

METADATA: Final = Path("configs/metadata.json")


def read_metadata() -> dict[str, Any]:
    """Give the bundle's metadata; run from the bundle's folder."""
    metadata: dict[str, Any] = json.loads(METADATA.read_text())
    return metadata


def write_metadata(metadata: dict[str, Any]) -> None:
    """Put the bundle's metadata back."""
    METADATA.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")


def publish(source: Path) -> str:
    """Copy the tensors of `source` to the bundle's weights and give their file's SHA-256."""
    metadata = read_metadata()
    state = torch.load(source, map_location="cpu", weights_only=True)
    target = Path(metadata["weights"]["path"])
    target.parent.mkdir(exist_ok=True)
    torch.save({name: tensor.contiguous() for name, tensor in state.items()}, target)
    metadata["weights"]["sha256"] = sha256_of(target)
    metadata["calibration"] = {"method": "none", "temperature": 1.0, "bias": 0.0}
    metadata["operating_points"] = {"balanced": {"threshold": 0.5, "indeterminate": [0.5, 0.5]}}
    metadata["default_operating_point"] = "balanced"
    write_metadata(metadata)
    return str(metadata["weights"]["sha256"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="state_dict of the network, from training")
    print(publish(parser.parse_args().source))
