"""Is what the evidence points at what the answer comes from, and does it lie in the thorax?

Deletion and insertion after Petsiuk et al., "RISE", 2018: pixels are blurred away, or brought back
into a blurred picture, those with the most evidence first; what is kept is the area under the
probability. Against it, the same with maps of chance.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from scripts.bundle.loaded import Shipped
from scripts.data.datasets import Radiograph
from scripts.data.manifest import SEED
from scripts.postprocessing.attention import enlarged, region_of
from scripts.robustness.tables import named

STEPS: Final = 10
BLURRED_SIDE: Final = 14  # of the picture that a blurred one is enlarged from
THORAX: Final = (0.1, 0.08, 0.85, 0.92)  # top, left, bottom, right: where it lies in most pictures


def try_looking(shipped: Shipped, rows: Sequence[Radiograph]) -> list[dict[str, Any]]:
    """Give for each radiograph that reads as pneumonia how well its map explains it."""
    scale = shipped.metadata["calibration"]
    chance = torch.Generator().manual_seed(SEED)
    found = []
    for row in tqdm(rows, desc="looking", mininterval=5, ncols=80):
        picture = shipped.present(row["image"])
        coarse = shipped.tell([picture])["attention"][0, 0] / scale["temperature"] + scale["bias"]
        if coarse.mean() <= 0:  # the calibrated logit
            continue
        ranks = enlarged(coarse, picture.shape[-1])
        by_chance = enlarged(torch.rand(coarse.shape, generator=chance), picture.shape[-1])
        found.append(
            {
                "image": named(row),
                "label": int(row["label"]),
                "concentrated": int(region_of(enlarged(coarse)) is not None),
                "inside_thorax": f"{share_in_thorax(ranks):.4f}",
                **_areas(shipped, picture, ranks, ""),
                **_areas(shipped, picture, by_chance, "random_"),
            }
        )
    return found


def share_in_thorax(attention: Tensor) -> float:
    """Give how much of the positive evidence of a map HxW lies in the frame `THORAX`."""
    positive = attention.clamp(min=0)
    side = len(attention)
    top, left, bottom, right = (round(share * side) for share in THORAX)
    return float(positive[top:bottom, left:right].sum() / positive.sum())


def _areas(shipped: Shipped, picture: Tensor, ranks: Tensor, prefix: str) -> dict[str, str]:
    blurred = _blurred(picture)
    order = ranks.flatten().argsort(descending=True).argsort().view(ranks.shape)
    taken = [order < ranks.numel() * step / STEPS for step in range(STEPS + 1)]
    pictures = [torch.where(mask, blurred, picture) for mask in taken]
    pictures += [torch.where(mask, picture, blurred) for mask in taken]
    told = shipped.probabilities(shipped.tell(pictures)["pred"][:, 0])
    deletion, insertion = told[: STEPS + 1], told[STEPS + 1 :]
    return {
        f"{prefix}deletion": f"{_area(deletion):.4f}",
        f"{prefix}insertion": f"{_area(insertion):.4f}",
    }


def _area(curve: Tensor) -> float:
    return float(torch.trapezoid(curve, dx=1 / STEPS))


def _blurred(picture: Tensor) -> Tensor:
    small = interpolate(picture[None], (BLURRED_SIDE, BLURRED_SIDE), mode="area")
    return interpolate(small, picture.shape[-2:], mode="bicubic")[0].clamp(-1, 1)
