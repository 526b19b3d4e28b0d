"""Test whether the attention map shows the pixels that the probability depends on.

Deletion and insertion after Petsiuk et al., "RISE", BMVC 2018: pixels are blurred, or restored in a
blurred image, those with the most evidence first, and the figure is the area under the probability.
It is compared with that of random maps. The share of the evidence inside the thorax is measured
too.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from scripts.bundle.loaded import LoadedBundle
from scripts.data.datasets import Radiograph
from scripts.data.manifest import SEED
from scripts.data.predictions import image_id
from scripts.postprocessing.attention import enlarge, find_region
from scripts.postprocessing.populations import least_evidence

STEPS: Final = 10
BLURRED_SIDE: Final = 14  # pixels; a blurred image is enlarged from this size
THORAX: Final = (0.1, 0.08, 0.85, 0.92)  # top, left, bottom, right of most thoraces, as fractions


def check_attention(bundle: LoadedBundle, rows: Sequence[Radiograph]) -> list[dict[str, Any]]:
    """Return the figures of the map of each radiograph whose probability is above one half."""
    generator = torch.Generator().manual_seed(SEED)
    found = []
    for row in tqdm(rows, desc="attention", mininterval=5, ncols=80):
        image = bundle.preprocess(row["image"])
        outputs = bundle.run_network([image])
        if bundle.probabilities(outputs["pred"][0, 0], row["cohort"]) <= 1 / 2:
            continue
        entry = bundle.entry(row["cohort"])
        calibration = entry["calibration"]
        least = least_evidence({**bundle.metadata, **entry}, None)
        coarse = outputs["attention"][0, 0] / calibration["temperature"] + calibration["bias"]
        ranks = enlarge(coarse, image.shape[-1])
        random_ranks = enlarge(torch.rand(coarse.shape, generator=generator), image.shape[-1])
        found.append(
            {
                "image": image_id(row),
                "label": int(row["label"]),
                "concentrated": int(find_region(enlarge(coarse), least=least) is not None),
                "inside_thorax": f"{share_in_thorax(ranks):.4f}",
                **_areas(bundle, image, ranks, row["cohort"]),
                **_areas(bundle, image, random_ranks, row["cohort"], "random_"),
            }
        )
    return found


def share_in_thorax(attention: Tensor) -> float:
    """Return the share of the positive evidence of a map NxN that lies inside `THORAX`."""
    positive = attention.clamp(min=0)
    side = len(attention)
    top, left, bottom, right = (round(share * side) for share in THORAX)
    return float(positive[top:bottom, left:right].sum() / positive.sum())


def _areas(
    bundle: LoadedBundle, image: Tensor, ranks: Tensor, cohort: str, prefix: str = ""
) -> dict[str, str]:
    """Return the areas of deletion and insertion in the order of `ranks`, HxW."""
    blurred = _blurred(image)
    order = ranks.flatten().argsort(descending=True).argsort().view(ranks.shape)
    masks = [order < ranks.numel() * step / STEPS for step in range(STEPS + 1)]
    images = [torch.where(mask, blurred, image) for mask in masks]
    images += [torch.where(mask, image, blurred) for mask in masks]
    probabilities = bundle.probabilities(bundle.run_network(images)["pred"][:, 0], cohort)
    deletion, insertion = probabilities[: STEPS + 1], probabilities[STEPS + 1 :]
    return {
        f"{prefix}deletion": f"{_area(deletion):.4f}",
        f"{prefix}insertion": f"{_area(insertion):.4f}",
    }


def _area(curve: Tensor) -> float:
    return float(torch.trapezoid(curve, dx=1 / STEPS))


def _blurred(image: Tensor) -> Tensor:
    small = interpolate(image[None], (BLURRED_SIDE, BLURRED_SIDE), mode="area")
    return interpolate(small, image.shape[-2:], mode="bicubic")[0].clamp(-1, 1)
