"""Combine trained networks into the bundle's weights file.

Run `python -m scripts.training.package_weights SETTLED.PT [SETTLED.PT ...]` from the bundle's
folder, with as many trainings as configs/inference.yaml has members. Writes models/model.pt and its
SHA-256 into configs/metadata.json, and resets calibration, operating points and the gate's limits,
which were chosen for other weights.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from scripts.bundle.files import build_component, read_metadata, write_metadata
from scripts.checksum import sha256_of
from scripts.network.ensemble import Ensemble

_KERNEL_DIMENSIONS: Final = 4  # of a convolution's weights
NEUTRAL: Final[dict[str, Any]] = {
    "calibration": {"method": "none", "temperature": 1.0, "bias": 0.0},
    "operating_points": {"balanced": {"threshold": 0.5, "indeterminate": [0.5, 0.5]}},
    "default_operating_point": "balanced",
    "scope": {"least_in_scope": 0.0, "largest_distance": 1e9, "chosen_on": "nothing"},
}
# Chosen for other weights too, and missing until `scripts.evaluation.populations` chooses them.
OF_POPULATIONS: Final = frozenset({"populations", "other_abnormality"})


def load_members(ensemble: Ensemble, sources: Sequence[Path]) -> Ensemble:
    """Load one training's state_dict into each member of `ensemble` and return it.

    Raises:
        ValueError: the number of trainings is not the number of members.
    """
    if len(sources) != len(ensemble.classifiers):
        raise ValueError(f"{len(sources)} trainings for {len(ensemble.classifiers)} members")
    for index, source in enumerate(sources):
        network = build_component("network_def::network")
        network.load_state_dict(torch.load(source, map_location="cpu", weights_only=True))
        ensemble.load_member(index, network)
    return ensemble


def to_half_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state_dict with the convolutions' kernels in float16, and the rest unchanged.

    It takes half the space. The rounded network is the one that is measured and calibrated.
    """
    return {
        name: tensor.half()
        if tensor.ndim == _KERNEL_DIMENSIONS and not name.startswith(("scope.", "adults."))
        else tensor.clone()
        for name, tensor in state.items()
    }


def write_weights(ensemble: Ensemble) -> str:
    """Write an ensemble as the bundle's weights, and return the file's SHA-256."""
    metadata = read_metadata()
    target = Path(metadata["weights"]["path"])
    target.parent.mkdir(exist_ok=True)
    torch.save(to_half_precision(ensemble.state_dict()), target)
    metadata["weights"]["sha256"] = sha256_of(target)
    write_metadata(metadata)
    return str(metadata["weights"]["sha256"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Combine the trainings named on the command line and print the digest of the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, nargs="+", help="state_dicts from training")
    sources = parser.parse_args(arguments).sources
    ensemble = load_members(build_component("network_def"), sources)
    kept = {name: value for name, value in read_metadata().items() if name not in OF_POPULATIONS}
    write_metadata(kept | NEUTRAL)
    print(write_weights(ensemble))


if __name__ == "__main__":
    main()
