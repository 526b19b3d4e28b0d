"""Radiographs of nobody, drawn from the statistics of thousands.

Run it as `python -m scripts.data.synthetic_radiographs`.

The training radiographs' mean and leading principal components are a blurred common ground in
which no single child can be seen. Coefficients drawn from each label's normal distribution, a
little grain and a plausible field of view make demonstration images that the network reads as
either finding. Everything that is written says that it is synthetic.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from scripts.data.datasets import Radiograph
from scripts.data.manifest import public, to_train
from scripts.data.sample_instances import write_samples
from scripts.preprocessing.load import read_radiograph

FloatArray = NDArray[np.float32]
SIDE: Final = 160  # pixels; what is drawn is smooth and is enlarged afterwards
COMPONENTS: Final = 32
LEAST_IMAGES: Final = 1000  # below this a component could show somebody
LARGEST_DEVIATION: Final = 1.2  # standard deviations, so that every draw looks like a chest
EMPHASIS: Final = 0.75  # how far a label's centre is moved away from the other's
GRAIN: Final = 0.006


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What thousands of radiographs have in common; pixels are flattened SIDE x SIDE, in [0, 1]."""

    mean: FloatArray  # pixels
    components: FloatArray  # COMPONENTS x pixels, orthonormal
    centres: dict[float, FloatArray]  # label -> mean coefficients
    factors: dict[float, FloatArray]  # label -> Cholesky factor of the coefficients' covariance


def learn(rows: list[Radiograph], *, seed: int) -> Statistics:
    """Give the statistics of labelled radiographs; refuses to learn from few."""
    if len(rows) < LEAST_IMAGES:
        raise ValueError(f"{len(rows)} images are too few to hide every single one")
    images = torch.stack([_small(row["image"]) for row in rows])
    mean = images.mean(dim=0)
    torch.manual_seed(seed)
    _, _, components = torch.svd_lowrank(images - mean, q=COMPONENTS, niter=4)
    coefficients = (images - mean) @ components
    labels = torch.tensor([row["label"] for row in rows])
    groups = {label: coefficients[labels == label] for label in (0.0, 1.0)}
    return Statistics(
        mean=mean.numpy(),
        components=components.T.contiguous().numpy(),
        centres={label: group.mean(dim=0).numpy() for label, group in groups.items()},
        factors={
            label: torch.linalg.cholesky(torch.cov(group.T)).numpy()
            for label, group in groups.items()
        },
    )


def draw(statistics: Statistics, label: float, *, seed: int) -> FloatArray:
    """Give one SIDE x SIDE radiograph of nobody in [0, 1], as the label's tend to look."""
    generator = np.random.default_rng(seed)
    deviations = generator.standard_normal(COMPONENTS).clip(-LARGEST_DEVIATION, LARGEST_DEVIATION)
    centre, other = statistics.centres[label], statistics.centres[1 - label]
    coefficients = centre + EMPHASIS * (centre - other) + statistics.factors[label] @ deviations
    pixels = statistics.mean + coefficients @ statistics.components
    low, high = np.quantile(pixels, (0.002, 0.998))
    return np.clip((pixels - low) / (high - low), 0, 1).astype(np.float32).reshape(SIDE, SIDE)


def enlarge(image: FloatArray, rows: int, columns: int, *, seed: int) -> FloatArray:
    """Give the image at another size and proportion, with grain so that it is not too smooth."""
    tensor = torch.from_numpy(image)[None, None]
    large = interpolate(tensor, (rows, columns), mode="bicubic", align_corners=False)[0, 0].numpy()
    grain = np.random.default_rng(seed).standard_normal(large.shape) * GRAIN
    return np.clip(large + grain, 0, 1).astype(np.float32)


def _small(path: str) -> torch.Tensor:
    luminance = torch.from_numpy(read_radiograph(Path(path).read_bytes()))[None, None]
    return interpolate(luminance, (SIDE, SIDE), mode="bilinear", antialias=True).flatten()


def main(arguments: list[str] | None = None) -> None:
    """Learn, draw, and write DICOM samples or plain arrays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="../../shared/data")
    parser.add_argument("--output", type=Path, default=Path("../tests/samples"))
    parser.add_argument("--arrays", type=int, help="write this many arrays a label, not DICOM")
    parser.add_argument("--seed", type=int, default=7)
    given: Any = parser.parse_args(arguments)
    rows = to_train(public(given.data_dir), cohorts=["pediatric"])
    statistics = learn(rows, seed=given.seed)
    given.output.mkdir(parents=True, exist_ok=True)
    if given.arrays:
        for label, name in ((0.0, "normal"), (1.0, "pneumonia")):
            drawn = [draw(statistics, label, seed=given.seed + k) for k in range(given.arrays)]
            np.save(given.output / f"{name}.npy", np.stack(drawn))
        return
    write_samples(
        given.output,
        lambda label, seed, rows, columns: enlarge(
            draw(statistics, label, seed=seed), rows, columns, seed=seed
        ),
        seed=given.seed,
    )


if __name__ == "__main__":
    main()
