"""Does the answer hang on the marker in the corner? The corners blotted out, before and after."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from scripts.bundle.loaded import Shipped
from scripts.data.datasets import Radiograph
from scripts.robustness.tables import named

TALL: Final = 0.15  # of the picture: side markers and burned-in text stand in there
WIDE: Final = 0.22


def without_corners(picture: Tensor) -> Tensor:
    """Give 1xHxW with each corner in its own middle tone."""
    found = picture.clone()
    rows, columns = round(TALL * picture.shape[-2]), round(WIDE * picture.shape[-1])
    for row in (slice(None, rows), slice(-rows, None)):
        for column in (slice(None, columns), slice(-columns, None)):
            found[:, row, column] = found[:, row, column].median()
    return found


def try_corners(shipped: Shipped, rows: Sequence[Radiograph]) -> list[dict[str, Any]]:
    """Give each radiograph's probability with and without its corners."""
    pictures = torch.stack([shipped.present(row["image"]) for row in rows])
    blotted = torch.stack([without_corners(picture) for picture in pictures])
    before, after = (
        shipped.probabilities(shipped.tell(each)["pred"][:, 0]) for each in (pictures, blotted)
    )
    return [
        {
            "image": named(row),
            "label": int(row["label"]),
            "cohort": row["cohort"],
            "before": f"{one:.6f}",
            "after": f"{other:.6f}",
        }
        for row, one, other in zip(rows, before, after, strict=True)
    ]
