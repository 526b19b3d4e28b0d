"""Draw images of anything but a chest, or crop them from photographs.

Each function takes a side in pixels and a random generator, and returns an image, side x side in
[-1, 1], as the preprocessing would. They train the gate and test it; `hand` and `skull`, and most
of scikit-image's photographs, only test it.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Generator = np.random.Generator
FloatArray = NDArray[np.float32]
Draw = Callable[[int, Generator], FloatArray]
PHOTOGRAPHS: Final = (  # of scikit-image, used in training
    *("brick.png", "grass.png", "gravel.png", "coins.png", "cell.png", "clock_motion.png"),
    *("microaneurysms.png", "horse.png", "moon.png", "color.png", "motorcycle_left.png"),
)


def noise(side: int, generator: Generator) -> FloatArray:
    """Draw noise whose power spectrum falls off at random, from white to cloudy."""
    power = generator.uniform(0, 2.5)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(generator.standard_normal((side, side))) / frequency**power
    return _scaled(np.fft.irfft2(spectrum, s=(side, side)))


def shapes(side: int, generator: Generator) -> FloatArray:
    """Draw boxes, ellipses and lines of random grey."""
    canvas = Image.new("L", (side, side), int(generator.integers(256)))
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(generator.integers(1, 14))):
        corners = sorted(generator.uniform(0, side, 2)) + sorted(generator.uniform(0, side, 2))
        box = (corners[0], corners[2], corners[1] + 1, corners[3] + 1)
        grey = int(generator.integers(256))
        kind = int(generator.integers(3))
        if kind == 0:
            draw.rectangle(box, fill=grey)
        elif kind == 1:
            draw.ellipse(box, fill=grey)
        else:
            draw.line(box, fill=grey, width=int(generator.integers(1, 12)))
    return _blurred(canvas, generator.uniform(0, 4))


def gratings(side: int, generator: Generator) -> FloatArray:
    """Draw gratings, checks and ramps, as in test patterns."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    angle = generator.uniform(0, math.pi)
    along = rows * math.cos(angle) + columns * math.sin(angle)
    across = columns * math.cos(angle) - rows * math.sin(angle)
    wave = np.sin(2 * math.pi * along * generator.uniform(0.3, 20))
    if generator.random() < 1 / 2:
        wave = wave * np.sin(2 * math.pi * across * generator.uniform(0.3, 20))
    return _scaled(np.sign(wave) if generator.random() < 1 / 3 else wave)


def text(side: int, generator: Generator) -> FloatArray:
    """Draw a page of letters, dark on bright or bright on dark."""
    paper, ink = (235, 20) if generator.random() < 1 / 2 else (15, 230)
    canvas = Image.new("L", (side, side), paper)
    draw = ImageDraw.Draw(canvas)
    size = generator.uniform(7, 22)
    for row in np.arange(generator.uniform(2, 12), side, size * 1.3):
        letters = "".join(chr(int(c)) for c in generator.integers(32, 123, 60))
        draw.text((generator.uniform(0, 10), row), letters, fill=ink, font_size=size)
    return _blurred(canvas, generator.uniform(0, 1))


def bones(side: int, generator: Generator) -> FloatArray:
    """Draw an arm or a leg: one or two long bones with a joint in soft tissue."""
    canvas = Image.new("L", (side, side), int(generator.uniform(0, 30)))
    draw = ImageDraw.Draw(canvas)
    middle, lean = generator.uniform(0.35, 0.65) * side, generator.uniform(-0.25, 0.25) * side
    tissue = generator.uniform(0.12, 0.3) * side
    grey = int(generator.uniform(60, 110))
    _limb(draw, (middle - lean, -9), (middle + lean, side + 9), tissue, grey)
    for offset in (0,) if generator.random() < 1 / 2 else (-tissue * 0.4, tissue * 0.4):
        width = generator.uniform(0.03, 0.07) * side
        start, end = (middle - lean + offset, -9), (middle + lean + offset, side + 9)
        _limb(draw, start, end, width, int(generator.uniform(170, 240)))
        joint = generator.uniform(0.25, 0.75)
        x, y = (a + joint * (b - a) for a, b in zip(start, end, strict=True))
        draw.ellipse((x - 2 * width, y - 1.4 * width, x + 2 * width, y + 1.4 * width), fill=225)
        draw.line((x - 2 * width, y, x + 2 * width, y), fill=120, width=2)
    return _grained(canvas, generator)


def hand(side: int, generator: Generator) -> FloatArray:
    """Draw a hand: five rays of small bones from a wrist."""
    canvas = Image.new("L", (side, side), int(generator.uniform(0, 30)))
    draw = ImageDraw.Draw(canvas)
    wrist = np.array([generator.uniform(0.4, 0.6) * side, generator.uniform(0.8, 0.95) * side])
    tissue, bone = int(generator.uniform(60, 110)), int(generator.uniform(170, 240))
    _limb(draw, tuple(wrist), (wrist[0], side + 20), 0.16 * side, tissue)
    angles = np.deg2rad(np.array([-52, -20, -4, 11, 27]) + generator.uniform(-5, 5, 5))
    rays = [np.array([math.sin(a), -math.cos(a)]) for a in angles]
    lengths = side * np.array([0.5, 0.68, 0.74, 0.7, 0.58]) * generator.uniform(0.85, 1.1)
    for ray, length in zip(rays, lengths, strict=True):
        _limb(draw, tuple(wrist), tuple(wrist + ray * length), 0.045 * side, tissue)
    draw.ellipse((*(wrist - 0.14 * side), *(wrist + np.array([0.14, 0.03]) * side)), fill=tissue)
    for ray, length in zip(rays, lengths, strict=True):
        for start, end in ((0.16, 0.5), (0.53, 0.73), (0.76, 0.87), (0.9, 0.98)):
            width = 0.02 * side * (1.2 - end / 2)
            first, last = (tuple(wrist + ray * length * share) for share in (start, end))
            _limb(draw, first, last, width, bone)
    for _ in range(8):
        x, y = wrist + generator.uniform(-0.07, 0.07, 2) * side
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=bone)
    return _grained(canvas, generator)


def spine(side: int, generator: Generator) -> FloatArray:
    """Draw a column of vertebrae with its discs, without lungs."""
    canvas = Image.new("L", (side, side), int(generator.uniform(40, 120)))
    draw = ImageDraw.Draw(canvas)
    middle, bend = generator.uniform(0.35, 0.65) * side, generator.uniform(-0.12, 0.12) * side
    tall, wide = generator.uniform(0.08, 0.15) * side, generator.uniform(0.07, 0.14) * side
    bright = int(generator.uniform(170, 240))
    for y in np.arange(-tall / 2, side, tall):
        x = middle + bend * math.sin(math.pi * y / side)
        draw.rounded_rectangle((x - wide, y, x + wide, y + tall * 0.8), tall * 0.2, fill=bright)
        draw.ellipse((x - wide * 0.5, y + tall * 0.2, x - wide * 0.2, y + tall * 0.5), fill=255)
        draw.ellipse((x + wide * 0.2, y + tall * 0.2, x + wide * 0.5, y + tall * 0.5), fill=255)
        level = y + tall * 0.3
        draw.line((x - 2 * wide, level, x + 2 * wide, level), fill=bright, width=5)
    return _grained(canvas, generator)


def skull(side: int, generator: Generator) -> FloatArray:
    """Draw a skull: a bright rim around a grey head with orbits and a jaw."""
    canvas = Image.new("L", (side, side), int(generator.uniform(0, 30)))
    draw = ImageDraw.Draw(canvas)
    x, y = (generator.uniform(0.4, 0.6) * side for _ in range(2))
    wide, tall = generator.uniform(0.25, 0.4) * side, generator.uniform(0.3, 0.45) * side
    draw.ellipse((x - wide, y - tall, x + wide, y + tall), fill=225)
    rim = generator.uniform(0.03, 0.06) * side
    inner = int(generator.uniform(90, 150))
    draw.ellipse((x - wide + rim, y - tall + rim, x + wide - rim, y + tall - rim), fill=inner)
    for sign in (-1, 1):
        eye, r = x + sign * wide * 0.45, wide * 0.28
        draw.ellipse((eye - r, y + r * 0.2, eye + r, y + r * 2), fill=60, outline=200, width=3)
    draw.rectangle((x - wide * 0.5, y + tall * 0.6, x + wide * 0.5, y + tall), fill=200)
    for tooth in np.arange(x - wide * 0.45, x + wide * 0.45, wide * 0.13):
        draw.line((tooth, y + tall * 0.65, tooth, y + tall * 0.95), fill=90, width=2)
    return _grained(canvas, generator)


@lru_cache(maxsize=1)
def _photographs() -> list[Image.Image]:
    """Load the photographs that are used in training; the others of scikit-image test the gate."""
    import skimage.data  # noqa: PLC0415 -- only for training and testing the gate

    folder = Path(skimage.data.__file__).parent
    return [Image.open(folder / name).convert("L") for name in PHOTOGRAPHS]


def photograph(side: int, generator: Generator) -> FloatArray:
    """Crop a random piece of a photograph and rotate it by a multiple of 90 degrees."""
    whole = _photographs()[int(generator.integers(len(_photographs())))]
    size = generator.uniform(0.3, 1) * min(whole.size)
    left, top = (generator.uniform(0, length - size) for length in whole.size)
    piece = whole.resize((side, side), box=(left, top, left + size, top + size))
    values = np.rot90(np.asarray(piece, dtype="f4"), int(generator.integers(4)))
    return _scaled(values if generator.random() < 3 / 4 else -values)


DRAWINGS: Final[tuple[Draw, ...]] = (
    noise,
    shapes,
    gratings,
    text,
    bones,
    spine,
)


def _limb(
    draw: ImageDraw.ImageDraw,
    start: tuple[float, ...],
    end: tuple[float, ...],
    width: float,
    grey: int,
) -> None:
    draw.line((*start, *end), fill=grey, width=max(2, round(2 * width)))
    for x, y in (start, end):
        draw.ellipse((x - width, y - width, x + width, y + width), fill=grey)


def _grained(canvas: Image.Image, generator: Generator) -> FloatArray:
    """Blur a drawing and add the grain and the uneven exposure of a radiograph."""
    side = canvas.size[0]
    grey = _blurred(canvas, generator.uniform(0.8, 2.5))
    light = noise(side, generator) * generator.uniform(0.02, 0.2)
    grain = generator.standard_normal((side, side)) * generator.uniform(0, 0.05)
    return _scaled(grey + light + grain)


def _blurred(canvas: Image.Image, radius: float) -> FloatArray:
    return _scaled(np.asarray(canvas.filter(ImageFilter.GaussianBlur(radius)), dtype="f4"))


def _scaled(values: NDArray[np.floating]) -> FloatArray:
    """Scale the 1st to the 99th percentile to [-1, 1], as `preprocessing.intensity` does."""
    low, high = np.percentile(values, (1, 99))
    if high <= low:
        low, high = values.min(), max(values.max(), values.min() + 1)
    scaled: NDArray[Any] = np.clip((values - low) * (2 / (high - low)) - 1, -1, 1)
    return scaled.astype(np.float32)
