"""Generate synthetic radiographs from the statistics of thousands of real ones.

Run `python -m scripts.data.synthetic_radiographs` from the bundle's folder. The mean and the
leading principal components of the training radiographs are so smooth that no single child can be
recognised in them. Random coefficients from each label's normal distribution, a little grain and a
plausible field of view give demonstration images that the network classifies as either finding.
Every file that is written says that it is synthetic.
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
from scripts.data.manifest import public_sets, training_rows
from scripts.data.sample_instances import write_samples
from scripts.preprocessing.load import read_radiograph

FloatArray = NDArray[np.float32]
SIDE: Final = 160  # pixels; the images are smooth and are enlarged afterwards
COMPONENTS: Final = 32
LEAST_IMAGES: Final = 1000  # with fewer, a component could show an individual
LARGEST_DEVIATION: Final = 1.2  # standard deviations, so that every image looks like a chest
EMPHASIS: Final = 0.75  # by which a label's centre is moved away from the other's
GRAIN: Final = 0.006  # standard deviation, of a luminance in [0, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Principal component analysis of radiographs; pixels are SIDE x SIDE in [0, 1], flattened."""

    mean: FloatArray  # pixels
    components: FloatArray  # COMPONENTS x pixels, orthonormal
    centres: dict[float, FloatArray]  # label -> mean coefficients
    factors: dict[float, FloatArray]  # label -> Cholesky factor of the coefficients' covariance


def fit_statistics(rows: list[Radiograph], *, seed: int) -> Statistics:
    """Compute the statistics of labelled radiographs.

    Raises:
        ValueError: there are fewer than `LEAST_IMAGES`.
    """
    if len(rows) < LEAST_IMAGES:
        raise ValueError(f"{len(rows)} images are too few to hide each single one")
    images = torch.stack([_thumbnail(row["image"]) for row in rows])
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


def generate(statistics: Statistics, label: float, *, seed: int) -> FloatArray:
    """Generate one synthetic radiograph of a label, SIDE x SIDE in [0, 1]."""
    generator = np.random.default_rng(seed)
    deviations = generator.standard_normal(COMPONENTS).clip(-LARGEST_DEVIATION, LARGEST_DEVIATION)
    centre, other = statistics.centres[label], statistics.centres[1 - label]
    coefficients = centre + EMPHASIS * (centre - other) + statistics.factors[label] @ deviations
    pixels = statistics.mean + coefficients @ statistics.components
    low, high = np.quantile(pixels, (0.002, 0.998))
    image: NDArray[Any] = np.clip((pixels - low) / (high - low), 0, 1)
    return image.astype(np.float32).reshape(SIDE, SIDE)


def enlarge(image: FloatArray, rows: int, columns: int, *, seed: int) -> FloatArray:
    """Resize an image SIDE x SIDE to rows x columns and add grain, so that it is not too smooth."""
    tensor = torch.from_numpy(image)[None, None]
    large = interpolate(tensor, (rows, columns), mode="bicubic", align_corners=False)[0, 0].numpy()
    grain = np.random.default_rng(seed).standard_normal(large.shape) * GRAIN
    return np.clip(large + grain, 0, 1).astype(np.float32)


def _thumbnail(path: str) -> torch.Tensor:
    luminance = torch.from_numpy(read_radiograph(Path(path).read_bytes()))[None, None]
    return interpolate(luminance, (SIDE, SIDE), mode="bilinear", antialias=True).flatten()


def main(arguments: list[str] | None = None) -> None:
    """Compute the statistics, and write DICOM samples or plain arrays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="../../shared/data")
    parser.add_argument("--output", type=Path, default=Path("../service/demo/samples"))
    parser.add_argument("--arrays", type=int, help="write this many arrays a label, not DICOM")
    parser.add_argument("--seed", type=int, default=7)
    options: Any = parser.parse_args(arguments)
    rows = training_rows(public_sets(options.data_dir), cohorts=["pediatric"])
    statistics = fit_statistics(rows, seed=options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.arrays:
        for label, name in ((0.0, "normal"), (1.0, "pneumonia")):
            images = [
                generate(statistics, label, seed=options.seed + k) for k in range(options.arrays)
            ]
            np.save(options.output / f"{name}.npy", np.stack(images))
        return
    write_samples(
        options.output,
        lambda label, seed, rows, columns: enlarge(
            generate(statistics, label, seed=seed), rows, columns, seed=seed
        ),
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
