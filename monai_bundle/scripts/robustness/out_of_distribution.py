"""What the gate lets pass and what it turns away: radiographs, and pictures that are none."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
import pydicom.data
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from scripts.bundle.loaded import Shipped
from scripts.data import out_of_scope as other_pictures
from scripts.data import synthetic_negatives as drawn_pictures
from scripts.data.datasets import Radiograph
from scripts.data.manifest import SEED, held_as
from scripts.refusal import unreadable_behind
from scripts.robustness.tables import some
from scripts.training.train_gate import toned

EACH: Final = 200  # pictures of a kind made from radiographs
DRAWN: Final = 100  # pictures of a kind made of nothing
PIECES: Final = 10  # of each photograph

# taught, on other radiographs; and then what the gate was never taught in any form
FROM_RADIOGRAPHS: Final = {
    "turned": other_pictures.turned,
    "upside down": other_pictures.upside_down,
    "mirrored": other_pictures.mirrored,
    "inverted": other_pictures.inverted,
    "cut off": other_pictures.cut_off,
    "half out of the picture": other_pictures.moved_out,
    "zoomed in": other_pictures.zoomed_in,
    "shuffled": other_pictures.shuffled,
    "lateral-like": other_pictures.lateral_like,
    "lateral-like, held back": other_pictures.one_lung_wide,
}
OF_NOTHING: Final = {
    "noise": drawn_pictures.noise,
    "shapes": drawn_pictures.shapes,
    "test patterns": drawn_pictures.waves,
    "text": drawn_pictures.text,
    "long bones, drawn": drawn_pictures.bones,
    "spines, drawn": drawn_pictures.spine,
    "hands, drawn, held back": drawn_pictures.hand,
    "skulls, drawn, held back": drawn_pictures.skull,
}
IMAGE_MODALITIES: Final = frozenset({"CT", "MR", "US", "OT", "XA", "ES", "SC", "XC"})


def try_strangers(shipped: Shipped, rows: Sequence[Radiograph]) -> list[dict[str, Any]]:
    """Give for each kind of picture how many there were and how many were refused, and why."""
    held = held_as(rows, "validation")
    found = [
        _counted("in-scope", name, _refused(shipped, members))
        for name, members in _in_scope(rows).items()
    ]
    pictures = [shipped.present(row["image"]) for row in some(held, EACH)]
    for name, change in tqdm(FROM_RADIOGRAPHS.items(), desc="changed", ncols=80):
        found.append(_counted("out-of-scope", name, _judged(shipped, _changed(pictures, change))))
    for name, draw in tqdm(OF_NOTHING.items(), desc="drawn", ncols=80):
        found.append(_counted("out-of-scope", name, _judged(shipped, _drawn(draw, pictures[0]))))
    for name, files in (("photographs, held back", _photographs), ("other modalities", _others)):
        with tempfile.TemporaryDirectory() as folder:
            paths = list(files(Path(folder)))
            codes = [_of_file(shipped, path) for path in paths]
            found.append(_counted("out-of-scope", name, codes))
    return found


def _in_scope(rows: Sequence[Radiograph]) -> dict[str, list[Radiograph]]:
    return {
        "children, validation part": held_as(rows, "validation", cohorts=["pediatric"]),
        "children, official test set": held_as(rows, "test"),
        "adults, validation part": held_as(rows, "validation", cohorts=["adult"]),
    }


def _refused(shipped: Shipped, rows: Sequence[Radiograph]) -> list[str | None]:
    return [_of_file(shipped, row["image"]) for row in tqdm(rows, desc="in scope", ncols=80)]


def _of_file(shipped: Shipped, path: str) -> str | None:
    """Give the code with which a file is refused, by the preprocessing or by the gate."""
    try:
        picture = shipped.present(path)
    except Exception as error:
        if unreadable := unreadable_behind(error):
            return unreadable.code
        raise
    return shipped.refusals(shipped.tell([picture]))[0]


def _judged(shipped: Shipped, pictures: Tensor) -> list[str | None]:
    return shipped.refusals(shipped.tell(toned(pictures)))


def _changed(pictures: Sequence[Tensor], change: Callable[..., Tensor]) -> Tensor:
    chance = np.random.default_rng(SEED)
    return torch.stack([change(picture[0], chance)[None] for picture in pictures])


def _drawn(draw: Callable[..., Any], like: Tensor) -> Tensor:
    chance = np.random.default_rng(SEED)
    return torch.stack([torch.from_numpy(draw(like.shape[-1], chance))[None] for _ in range(DRAWN)])


def _photographs(folder: Path) -> Iterator[str]:
    """Write whole photographs, and pieces of them, that never taught the gate."""
    import skimage.data  # noqa: PLC0415 -- of the dev extra

    chance = np.random.default_rng(SEED)
    source = Path(skimage.data.__file__).parent
    for path in sorted([*source.glob("*.png"), *source.glob("*.jpg")]):
        if path.name in drawn_pictures.PHOTOGRAPHS:
            continue
        picture = Image.open(path).convert("RGB")
        for number in range(PIECES):
            share = 1 if number == 0 else chance.uniform(0.4, 0.9)
            wide, tall = (max(64, int(share * length)) for length in picture.size)
            left, top = (
                int(chance.uniform(0, max(0, length - part)))
                for length, part in zip(picture.size, (wide, tall), strict=True)
            )
            target = folder / f"{path.stem}-{number}.png"
            picture.crop((left, top, left + wide, top + tall)).save(target)
            yield str(target)


def _others(_: Path) -> Iterator[str]:
    """Name pydicom's test files that show something: slices, ultrasound, colour."""
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
