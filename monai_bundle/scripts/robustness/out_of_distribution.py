"""Count the gate's refusals of radiographs, and of images that are out of scope.

The frontal films of Hannover and the lateral films are here to be counted only: nothing is trained
or chosen on them. RSNA's test split is not touched.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pydicom
import pydicom.data
import torch
from monai.transforms.compose import Compose
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from scripts.bundle.loaded import LoadedBundle
from scripts.data import out_of_scope, synthetic_negatives, thorax_phantom
from scripts.data.datasets import Radiograph
from scripts.data.manifest import SEED, rows_of_part
from scripts.network.ensemble import Ensemble
from scripts.postprocessing.gate import RefuseOutOfScope
from scripts.preprocessing.intensity import scale_batch
from scripts.refusal import find_refusal
from scripts.robustness.tables import sample
from scripts.training.gate_images import source_of
from scripts.training.heads.table import is_usable

CHANGED: Final = 200  # images of each kind made from radiographs
DRAWN: Final = 100  # images of each kind that is drawn
CROPS: Final = 10  # of each photograph

# The gate was trained on these kinds, made from other radiographs, except those "held back".
CHANGES: Final = {
    "turned": out_of_scope.turned,
    "upside down": out_of_scope.upside_down,
    "mirrored": out_of_scope.mirrored,
    "inverted": out_of_scope.inverted,
    "cut off": out_of_scope.cut_off,
    "half out of the picture": out_of_scope.moved_out,
    "zoomed in": out_of_scope.zoomed_in,
    "shuffled": out_of_scope.shuffled,
    "lateral-like": out_of_scope.lateral_like,
    "folded at the midline": out_of_scope.folded,
    "drawn thorax from the side": thorax_phantom.lateral_phantom,
    "lateral-like, held back": out_of_scope.one_lung_wide,
}
DRAWINGS: Final = {
    "noise": synthetic_negatives.noise,
    "shapes": synthetic_negatives.shapes,
    "test patterns": synthetic_negatives.gratings,
    "text": synthetic_negatives.text,
    "long bones, drawn": synthetic_negatives.bones,
    "spines, drawn": synthetic_negatives.spine,
    "hands, drawn, held back": synthetic_negatives.hand,
    "skulls, drawn, held back": synthetic_negatives.skull,
}
SOURCES: Final = {
    "nih": "NIH",
    "nlm_montgomery": "Montgomery",
    "nlm_shenzhen": "Shenzhen",
    "rsna2018": "RSNA",
}
IMAGE_MODALITIES: Final = frozenset({"CT", "MR", "US", "OT", "XA", "ES", "SC", "XC"})


class GateAlone(nn.Module):
    """The published network as far as the gate needs it: a fifth of the cost."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.lower = nn.Sequential(ensemble.trunk, ensemble.middles[0])
        self.scope = ensemble.scope

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return `scope` and `distance` of `Ensemble.forward`."""
        scope, distance = self.scope(self.lower(images))
        return {"scope": scope, "distance": distance}


def gate_alone(bundle: LoadedBundle) -> LoadedBundle:
    """Return a bundle that only refuses, as `bundle` does."""
    limits = bundle.metadata["scope"]
    refuse = RefuseOutOfScope(limits["least_in_scope"], limits["largest_distance"])
    return LoadedBundle(
        preprocessing=bundle.preprocessing,
        network=GateAlone(cast("Ensemble", bundle.network)),
        inferer=bundle.inferer,
        postprocessing=Compose([refuse]),
        metadata=bundle.metadata,
    )


def check_gate(bundle: LoadedBundle, rows: Sequence[Radiograph]) -> list[dict[str, Any]]:
    """Count for each kind of image how many were refused, and why.

    Args:
        bundle: whose gate is measured.
        rows: of all sets.
    """
    bundle = gate_alone(bundle)
    validation = rows_of_part(rows, "validation")
    found = [
        _counted("in-scope", name, _codes_of_rows(bundle, members))
        for name, members in _in_scope(rows).items()
    ]
    if lateral := [row for row in rows if source_of(row) == "lateral"]:
        codes = _codes_of_rows(bundle, lateral)
        found.append(_counted("out-of-scope", "lateral films, never learned from", codes))
    images = [bundle.preprocess(row["image"]) for row in sample(validation, CHANGED)]
    for name, change in tqdm(CHANGES.items(), desc="changed", ncols=80):
        found.append(
            _counted("out-of-scope", name, _codes_of_images(bundle, _changed(images, change)))
        )
    for name, draw in tqdm(DRAWINGS.items(), desc="drawn", ncols=80):
        found.append(
            _counted("out-of-scope", name, _codes_of_images(bundle, _drawn(draw, images[0])))
        )
    for name, files in (
        ("photographs, held back", _photographs),
        ("other modalities", _other_modalities),
    ):
        with tempfile.TemporaryDirectory() as folder:
            paths = list(files(Path(folder)))
            codes = [_code_of_file(bundle, path) for path in paths]
            found.append(_counted("out-of-scope", name, codes))
    return found


def _in_scope(rows: Sequence[Radiograph]) -> dict[str, list[Radiograph]]:
    found = {
        "children, validation part": rows_of_part(rows, "validation", cohorts=["pediatric"]),
        "children, official test set": rows_of_part(rows, "test"),
    }
    usable = [row for row in rows if is_usable(row, with_test=False)]
    for source, name in SOURCES.items():
        of_source = [row for row in usable if source_of(row) == source]
        found[f"adults, {name}, validation part"] = [
            row for row in of_source if row["part"] == "validation"
        ]
    hannover = [row for row in usable if source_of(row) == "adult_covid"]
    found["adults, COVID-19 of Hannover, never learned from"] = hannover
    return {name: members for name, members in found.items() if members}


def _codes_of_rows(bundle: LoadedBundle, rows: Sequence[Radiograph]) -> list[str | None]:
    return [_code_of_file(bundle, row["image"]) for row in tqdm(rows, desc="in scope", ncols=80)]


def _code_of_file(bundle: LoadedBundle, path: str) -> str | None:
    """Return the code with which preprocessing or gate refuse a file, or None."""
    try:
        image = bundle.preprocess(path)
    except Exception as error:
        if refusal := find_refusal(error):
            return refusal.code
        raise
    return bundle.refusal_codes(bundle.run_network([image]))[0]


def _codes_of_images(bundle: LoadedBundle, images: Tensor) -> list[str | None]:
    return bundle.refusal_codes(bundle.run_network(scale_batch(images)))


def _changed(images: Sequence[Tensor], change: Callable[..., Tensor]) -> Tensor:
    generator = np.random.default_rng(SEED)
    return torch.stack([change(image[0], generator)[None] for image in images])


def _drawn(draw: Callable[..., Any], like: Tensor) -> Tensor:
    generator = np.random.default_rng(SEED)
    return torch.stack(
        [torch.from_numpy(draw(like.shape[-1], generator))[None] for _ in range(DRAWN)]
    )


def _photographs(folder: Path) -> Iterator[str]:
    """Write photographs, and crops of them, that were not used to train the gate."""
    import skimage.data  # noqa: PLC0415 -- in the dev extra

    generator = np.random.default_rng(SEED)
    source = Path(skimage.data.__file__).parent
    for path in sorted([*source.glob("*.png"), *source.glob("*.jpg")]):
        if path.name in synthetic_negatives.PHOTOGRAPHS:
            continue
        image = Image.open(path).convert("RGB")
        for number in range(CROPS):
            share = 1 if number == 0 else generator.uniform(0.4, 0.9)
            wide, tall = (max(64, int(share * length)) for length in image.size)
            left, top = (
                int(generator.uniform(0, max(0, length - part)))
                for length, part in zip(image.size, (wide, tall), strict=True)
            )
            target = folder / f"{path.stem}-{number}.png"
            image.crop((left, top, left + wide, top + tall)).save(target)
            yield str(target)


def _other_modalities(_: Path) -> Iterator[str]:
    """Yield pydicom's test files of single-frame images: slices, ultrasound, colour."""
    for path in sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm")):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except Exception:  # noqa: BLE001, S112 -- broken on purpose
            continue
        if (
            header.get("Modality") in IMAGE_MODALITIES
            and int(header.get("NumberOfFrames") or 1) == 1
        ):
            yield str(path)


def _counted(group: str, kind: str, codes: Sequence[str | None]) -> dict[str, Any]:
    reasons = Counter(code for code in codes if code)
    return {
        "group": group,
        "kind": kind,
        "n": len(codes),
        "refused": sum(reasons.values()),
        "reasons": json.dumps(dict(sorted(reasons.items()))),
    }
