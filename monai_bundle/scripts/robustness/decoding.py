"""Measure how far the probability moves against a decoding of every pixel, by transfer syntax.

Run `python -m scripts.robustness.decoding` from the bundle's folder. Real radiographs of
../shared/data are enlarged to the size of a detector, get its noise, 12 to 16 bits and a window, a
VOI LUT or neither, and are encoded in each syntax. The probability of what the preprocessing makes
of each file is compared with that of the file decoded in full, looked up pixel by pixel and resized
by torch.
"""

import argparse
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from openjpeg.utils import encode as encode_openjpeg
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from scripts.bundle.loaded import LoadedBundle, load_bundle
from scripts.data.manifest import SEED
from scripts.preprocessing.load import LoadRadiographd
from scripts.robustness.renderings import as_file, build_instance

Words = NDArray[Any]

FOLDERS: Final = ("pediatric/train/*", "adult/*", "adult_covid")
SIDES: Final = ((2048, 2048), (2400, 1976), (2010, 2010), (2500, 2048))  # rows, columns
BITS: Final = (12, 14, 16)
NOISE: Final = 0.005  # standard deviation of the brightest pixel, of the largest value
LOSSY_RATIO: Final = 10
SIXTEEN_BITS: Final = {"HTJ2K lossless"}  # the encoder states no other precision


def _rle(words: Words, bits: int) -> bytes:
    """Encode as PS3.5 G: a segment for each byte of a word, the most significant first."""
    del bits
    planes = words.astype(">u2").view("u1").reshape(*words.shape, 2)
    segments = [
        b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in planes[..., place])
        for place in range(2)
    ]
    segments = [each + b"\0" * (len(each) % 2) for each in segments]
    offsets = [2, 64, 64 + len(segments[0]), *([0] * 13)]
    return np.asarray(offsets, "<u4").tobytes() + b"".join(segments)


def _jpeg_lossless(words: Words, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(words, lossless=True, predictor=1, bitspersample=bits))


def _jpeg_2000(words: Words, bits: int, ratios: Sequence[float] = ()) -> bytes:
    encoded: bytes = encode_openjpeg(
        words,
        bits_stored=bits,
        photometric_interpretation=2,  # greyscale
        codec_format=0,  # a codestream
        compression_ratios=list(ratios) or None,
    )
    return encoded


Encoder = Callable[[Words, int], bytes | bytearray]
SYNTAXES: Final[dict[str, tuple[UID, Encoder] | None]] = {
    "uncompressed": None,
    "RLE": (RLELossless, _rle),
    "JPEG lossless": (JPEGLosslessSV1, _jpeg_lossless),
    "JPEG-LS": (JPEGLSLossless, lambda words, _: imagecodecs.jpegls_encode(words)),
    "JPEG 2000 lossless": (JPEG2000Lossless, _jpeg_2000),
    "JPEG 2000 lossy": (JPEG2000, lambda w, bits: _jpeg_2000(w, bits, [LOSSY_RATIO])),
    "HTJ2K lossless": (HTJ2KLossless, lambda words, _: imagecodecs.htj2k_encode(words)),
}


def enlarge(picture: Image.Image, size: tuple[int, int], bits: int, seed: int) -> Words:
    """Return the stored values of a detector of this size that would give this picture."""
    largest = (1 << bits) - 1
    grey = picture.convert("L").resize(size[::-1], Image.Resampling.BICUBIC)
    exposed = 0.05 + 0.9 * np.asarray(grey, dtype=np.float32) / 255
    noise = np.random.default_rng(seed).standard_normal(size, dtype=np.float32)
    values = (exposed + NOISE * np.sqrt(exposed) * noise) * largest
    return np.clip(np.rint(values), 0, largest).astype("<u2")


def build(words: Words, bits: int, tones: int) -> Dataset:
    """Build an instance without tones of its own, with a window that clips, or with a VOI LUT."""
    dataset = build_instance(words, bits, "MONOCHROME2")
    if tones == 1:
        low, high = np.percentile(words[::8, ::8], (2, 98))
        dataset.WindowCenter, dataset.WindowWidth = int((low + high) / 2), int(high - low) + 2
    if tones == 2:  # noqa: PLR2004 -- the third of three
        curve = 1 / (1 + np.exp(-8 * np.linspace(-0.5, 0.5, 4096)))
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [4096, 0, 16])
        item.add_new("LUTData", "OW", np.rint(curve * 65535).astype("<u2").tobytes())
        dataset.VOILUTSequence = [item]
        dataset.RescaleIntercept, dataset.RescaleSlope = 0, 4096 / (1 << bits)
    return dataset


def encode(words: Words, bits: int, tones: int, syntax: str) -> bytes:
    """Return the file of an instance with these values and tones in a transfer syntax."""
    if syntax in SIXTEEN_BITS:
        words, bits = words << (16 - bits), 16
    dataset = build(words, bits, tones)
    if (coding := SYNTAXES[syntax]) is not None:
        dataset.file_meta.TransferSyntaxUID, encoder = coding
        dataset.PixelData = encapsulate([bytes(encoder(words, bits))])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    return as_file(dataset)


def check_decoding(
    bundle: LoadedBundle, paths: Iterable[Path], syntaxes: Sequence[str]
) -> dict[str, list[float]]:
    """Return by syntax how far the probability of each radiograph moves."""
    moved: dict[str, list[float]] = defaultdict(list)
    transforms: list[Any] = list(bundle.preprocessing.transforms)  # type: ignore[attr-defined]  # of a Compose
    in_full = [LoadRadiographd(keys="image"), *transforms[1:]]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "encoded"
        for number, path in enumerate(paths):
            bits, size = BITS[number % len(BITS)], SIDES[number % len(SIDES)]
            with Image.open(path) as picture:
                words = enlarge(picture, size, bits, number)
            tones = number // len(BITS) % 3
            file.write_bytes(encode(words, bits, tones, "uncompressed"))
            plain = _prepared(in_full, file)
            images = []
            for syntax in syntaxes:
                file.write_bytes(encode(words, bits, tones, syntax))
                is_lossy = syntax == "JPEG 2000 lossy"  # the others hold the same values
                images += [_prepared(in_full, file) if is_lossy else plain]
                images += [_prepared(transforms, file)]
            found = bundle.probabilities(bundle.run_network(images)["pred"][:, 0]).tolist()
            for place, syntax in enumerate(syntaxes):
                moved[syntax].append(abs(found[2 * place + 1] - found[2 * place]))
            print(
                f"{number + 1}", *(f"{moved[each][-1]:.5f}" for each in syntaxes), file=sys.stderr
            )
    return moved


def _prepared(transforms: Iterable[Callable[[dict[str, Any]], dict[str, Any]]], file: Path) -> Any:  # noqa: ANN401 -- a tensor
    data: dict[str, Any] = {"image": str(file)}
    for transform in transforms:
        data = transform(data)
    return data["image"]


def choose(data_dir: Path, count: int) -> list[Path]:
    """Return the paths of `count` random radiographs, as many of each folder."""
    chosen = []
    for folder in FOLDERS:
        found = sorted(path for path in data_dir.glob(f"{folder}/*.jp*g") if path.is_file())
        share = -(-count // len(FOLDERS))
        chosen += random.Random(SEED).sample(found, min(share, len(found)))
    return random.Random(SEED).sample(chosen, min(count, len(chosen)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each syntax."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=Path, default=Path("../../shared/data"))
    parser.add_argument("--images", type=int, default=210)
    parser.add_argument("--only", action="append", choices=list(SYNTAXES))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    paths = choose(options.data_dir, options.images)
    moved = check_decoding(load_bundle(), paths, options.only or list(SYNTAXES))
    print("| Transfer syntax | n | median | 95th percentile | largest |\n|---|---|---|---|---|")
    for syntax, each in moved.items():
        middle, high = np.percentile(each, (50, 95))
        print(f"| {syntax} | {len(each)} | {middle:.5f} | {high:.5f} | {max(each):.5f} |")


if __name__ == "__main__":
    main()
