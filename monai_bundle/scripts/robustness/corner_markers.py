"""Test whether the probability depends on markers in the corners of the image."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from scripts.bundle.loaded import LoadedBundle
from scripts.data.datasets import Radiograph
from scripts.data.predictions import image_id

CORNER_HEIGHT: Final = 0.15  # of the image: side markers and burned-in text are inside
CORNER_WIDTH: Final = 0.22


def cover_corners(image: Tensor) -> Tensor:
    """Return an image 1xHxW with each corner replaced by its own median."""
    covered = image.clone()
    rows, columns = round(CORNER_HEIGHT * image.shape[-2]), round(CORNER_WIDTH * image.shape[-1])
    for row in (slice(None, rows), slice(-rows, None)):
        for column in (slice(None, columns), slice(-columns, None)):
            covered[:, row, column] = covered[:, row, column].median()
    return covered


def check_corners(bundle: LoadedBundle, rows: Sequence[Radiograph]) -> list[dict[str, Any]]:
    """Return each radiograph's probability with and without its corners."""
    images = torch.stack([bundle.preprocess(row["image"]) for row in rows])
    covered = torch.stack([cover_corners(image) for image in images])
    before, after = (_probabilities(bundle, each, rows) for each in (images, covered))
    return [
        {
            "image": image_id(row),
            "label": int(row["label"]),
            "cohort": row["cohort"],
            "before": f"{one:.6f}",
            "after": f"{other:.6f}",
        }
        for row, one, other in zip(rows, before, after, strict=True)
    ]


def _probabilities(bundle: LoadedBundle, images: Tensor, rows: Sequence[Radiograph]) -> list[float]:
    logits = bundle.run_network(images)["pred"][:, 0]
    return [
        float(bundle.probabilities(logit, row["cohort"]))
        for logit, row in zip(logits, rows, strict=True)
    ]
