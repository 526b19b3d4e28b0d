"""Test whether the probability depends on what surrounds the anatomy: borders, padding, markers.

Radiographs are rendered as a detector stores them: more than 8 bits, no window, values that fill a
part of the range. Each rendering is compared with the same picture given plainly, in 8 bits: a
border and a marker hide pixels, which is no question of tones.
"""

import io
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from tqdm import tqdm

from scripts.bundle.loaded import LoadedBundle
from scripts.data.adult_sets import read_covid
from scripts.data.datasets import Radiograph
from scripts.data.predictions import image_id
from scripts.preprocessing.load import read_radiograph
from scripts.robustness.renderings import as_file, build_instance
from scripts.robustness.tables import sample

FloatArray = NDArray[np.float32]
Words = NDArray[np.uint16]

NEAR: Final = 0.02  # difference in probability
BORDER: Final = 0.07  # of each side
MARKER: Final = (0.02, 0.07, 0.80, 0.97)  # rows and columns that its letters lie between
DEPTHS: Final = {"12 bits": (12, 160, 1500), "14 bits": (14, 1900, 9000)}  # bits, black, span
_NOISE: Final = 0.01  # of the span: a collimator's shadow is not one value


def plainly(luminance: FloatArray) -> bytes:
    """Encode a luminance HxW in [0, 1] as an 8-bit PNG."""
    file = io.BytesIO()
    Image.fromarray(np.round(luminance * 255).astype("u1")).save(file, "PNG")
    return file.getvalue()


def border_mask(rows: int, columns: int) -> NDArray[np.bool_]:
    """Return where a border lies that is `BORDER` of each side wide."""
    down, across = round(BORDER * rows), round(BORDER * columns)
    mask = np.ones((rows, columns), dtype=bool)
    mask[down:-down, across:-across] = False
    return mask


def marker_mask(rows: int, columns: int) -> NDArray[np.bool_]:
    """Return where the strokes of a burned-in line of text lie: a third of its rectangle."""
    top, bottom = (round(each * rows) for each in MARKER[:2])
    left, right = (round(each * columns) for each in MARKER[2:])
    mask = np.zeros((rows, columns), dtype=bool)
    stroke = max(1, (right - left) // 24)
    for start in range(left, right, 3 * stroke):
        mask[top:bottom, start : start + stroke] = True
    return mask


def stored(luminance: FloatArray, depth: str) -> Words:
    """Return the words that a detector stores for a luminance."""
    _, black, span = DEPTHS[depth]
    return np.round(black + luminance * span).astype("<u2")


def _border(words: Words, depth: str) -> Dataset:
    words[border_mask(*words.shape)] = 0
    return build_instance(words, DEPTHS[depth][0], "MONOCHROME2")


def _shadow(words: Words, depth: str) -> Dataset:
    """Render a border that lets a little through: dark, and noisy."""
    bits, black, span = DEPTHS[depth]
    random = np.random.default_rng(len(words))
    noise = np.abs(random.normal(black / 2, _NOISE * span, words.shape))
    mask = border_mask(*words.shape)
    words[mask] = noise.astype("u2")[mask]
    return build_instance(words, bits, "MONOCHROME2")


def _padding(words: Words, depth: str) -> Dataset:
    dataset = _border(words, depth)
    dataset.PixelPaddingValue = 0
    return dataset


def _shutter(words: Words, depth: str) -> Dataset:
    dataset = build_instance(words, DEPTHS[depth][0], "MONOCHROME2")
    rows, columns = words.shape
    down, across = round(BORDER * rows), round(BORDER * columns)
    dataset.ShutterShape = "RECTANGULAR"
    dataset.ShutterLeftVerticalEdge, dataset.ShutterRightVerticalEdge = across, columns - across + 1
    dataset.ShutterUpperHorizontalEdge, dataset.ShutterLowerHorizontalEdge = down, rows - down + 1
    return dataset


def _marker(words: Words, depth: str) -> Dataset:
    bits = DEPTHS[depth][0]
    words[marker_mask(*words.shape)] = (1 << bits) - 1
    return build_instance(words, bits, "MONOCHROME2")


def _plain(words: Words, depth: str) -> Dataset:
    return build_instance(words, DEPTHS[depth][0], "MONOCHROME2")


RENDERINGS: Final[dict[str, Callable[[Words, str], Dataset]]] = {
    "no border": _plain,
    "black border": _border,
    "dark, noisy border": _shadow,
    "padding": _padding,
    "shutter": _shutter,
    "marker": _marker,
}
PLAINLY: Final = {  # the picture that a rendering is compared with
    "no border": "as published",
    "marker": "with a marker",
} | dict.fromkeys(("black border", "dark, noisy border", "padding", "shutter"), "with a border")


def references(luminance: FloatArray) -> dict[str, bytes]:
    """Return the pictures given plainly, by name."""
    bordered, marked = luminance.copy(), luminance.copy()
    bordered[border_mask(*luminance.shape)] = 0
    marked[marker_mask(*luminance.shape)] = 1
    pictures = {"as published": luminance, "with a border": bordered, "with a marker": marked}
    return {name: plainly(picture) for name, picture in pictures.items()}


def framed_rows(validation: Sequence[Radiograph], data_dir: str) -> list[Radiograph]:
    """Return the radiographs to render: some of the validation part, and adults with COVID-19."""
    covid = read_covid(Path(data_dir, "adult_covid"))
    return [
        *sample(validation, 60, cohort="pediatric"),
        *sample(validation, 30, cohort="adult"),
        *(
            Radiograph(**{**row, "cohort": "adult_covid"})
            for row in sorted(covid, key=lambda row: row["image"])[:30]
        ),
    ]


def described(found: Sequence[Mapping[str, Any]]) -> str:
    """Describe how far the probabilities are from those of the pictures given plainly, a line each.

    Then the same for the distance to the radiograph as published, which has neither a border nor a
    marker.
    """
    lines = []
    for other in ("plainly", "unmarked"):
        distances: dict[str, list[float]] = defaultdict(list)
        for row in found:
            distance = abs(float(row["probability"]) - float(row[other]))
            distances[row["rendering"]].append(distance)
        for name, each in distances.items():
            median, high = np.percentile(each, (50, 95))
            far = np.mean(np.array(each) > NEAR)
            lines.append(
                f"{name}, from {other}: {len(each)} images, median {median:.4f}, "
                f"95th percentile {high:.3f}, largest {max(each):.3f}, {far:.0%} > {NEAR}"
            )
    return "\n".join(lines) + "\n"


def check_surroundings(bundle: LoadedBundle, rows: Sequence[Radiograph]) -> list[dict[str, Any]]:
    """Return the probability of each radiograph in each rendering and of its picture plainly."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rendering"
        for row in tqdm(rows, desc="surroundings", mininterval=5, ncols=80):
            luminance = read_radiograph(Path(row["image"]).read_bytes())
            files = references(luminance) | {
                f"{name}, {depth}": as_file(render(stored(luminance, depth), depth))
                for name, render in RENDERINGS.items()
                for depth in DEPTHS
            }
            images = []
            for content in files.values():
                path.write_bytes(content)
                images.append(bundle.preprocess(str(path)))
            logits = bundle.run_network(images)["pred"][:, 0]
            cohort = "adult" if row["cohort"] == "adult_covid" else row["cohort"]
            values = bundle.probabilities(logits, cohort).tolist()
            of = dict(zip(files, values, strict=True))
            found += [
                {
                    "image": image_id(row),
                    "cohort": row["cohort"],
                    "rendering": f"{name}, {depth}",
                    "plainly": f"{of[PLAINLY[name]]:.6f}",
                    "probability": f"{of[f'{name}, {depth}']:.6f}",
                    "unmarked": f"{of['as published']:.6f}",
                }
                for name in RENDERINGS
                for depth in DEPTHS
            ]
    return found
