"""Project a drawn thorax from any side, as a radiograph would show it.

The thorax is a set of solids of random size: trunk, lungs above two domes, heart, aorta, windpipe,
spine, breasts and stomach bubble, with ribs, breastbone, shoulder blades, arms and lung vessels as
clouds of points. Lengths are in half widths of the chest; x is the patient's left, y the back and
z the feet. It is crude, but a lateral view of it has what a lateral radiograph has and a frontal
one cannot have, in all combinations of sizes and angles. Tones and grain come from a radiograph.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

Generator = np.random.Generator
Change = Callable[[Tensor, Generator], Tensor]
FloatArray = NDArray[np.float32]
GRID: Final = 80  # rows and columns of the projected soft tissue, before it is enlarged
DEPTHS: Final = 40  # samples along each ray
TRUNK, LUNG, BONE = 1.0, 0.25, 1.7  # attenuation in half widths of the chest
WINDPIPE, FORK = 0.077, -0.25  # its radius, and how high it divides
VERTEBRA, PROCESS = 0.78, 0.45  # shares of a vertebra's period; the rest is disc
LATERAL: Final = (60.0, 120.0)  # degrees of rotation about the long axis
QUANTILES: Final = np.linspace(0, 1, 65)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thorax:
    """Sizes of one thorax."""

    deep: float  # half depth of the chest
    top: float  # of the lungs
    domes: tuple[float, float]  # height of the right and the left diaphragm
    dome_fall: float  # from the middle of a dome to the back
    heart: tuple[float, float, float]  # half axes
    heart_at: tuple[float, float, float]
    curve: float  # of the spine
    waist: float  # its width and depth
    vertebrae: float  # in a half width
    breast: float  # 0 for none
    arms: float  # attenuation of raised arms, 0 for none
    ribs: int
    vessels: int


def random_thorax(generator: Generator) -> Thorax:
    """Return a thorax between a small child's and a large adult's."""
    draw = generator.uniform
    deep, domes = draw(0.55, 0.95), draw(0.35, 0.75)
    return Thorax(
        deep=deep,
        top=draw(-1.15, -0.9),
        domes=(domes, domes + draw(-0.03, 0.18)),
        dome_fall=draw(0.25, 0.75),
        heart=(draw(0.36, 0.55), draw(0.4, 0.6) * deep, draw(0.3, 0.5)),
        heart_at=(draw(0.08, 0.22), draw(-0.4, -0.15) * deep, domes - draw(0.05, 0.3)),
        curve=draw(-0.02, 0.2),
        waist=draw(0.8, 1.15),
        vertebrae=draw(4, 7.5),
        breast=draw(0.1, 0.4) if generator.random() < 1 / 3 else 0,
        arms=draw(0.2, 1) if generator.random() < 3 / 4 else 0,
        ribs=int(generator.integers(8, 12)),
        vessels=int(generator.integers(10, 60)),
    )


def project(thorax: Thorax, angle: float, side: int, generator: Generator) -> FloatArray:
    """Return the attenuation of a thorax, side x side, rotated by `angle` degrees.

    0 degrees is the frontal view, with the patient's left on the right of the picture; 90 degrees
    the lateral one, with the back on the right.
    """
    half = abs(math.cos(math.radians(angle))) + thorax.deep * abs(math.sin(math.radians(angle)))
    wide = half * generator.uniform(0.85, 1.25)
    middle = generator.uniform(-0.1, 0.1) * wide
    high = thorax.top - generator.uniform(0.02, 0.4)
    low = max(thorax.domes) + generator.uniform(0.05, 0.6)
    frame = (middle - wide, middle + wide, high, low)
    soft = _enlarged(_soft_tissue(thorax, angle, frame), side)
    bones = _splatted(_bones(thorax, generator), angle, frame, side)
    vessels = _splatted(_vessels(thorax, generator), angle, frame, side)
    bones = _blurred(bones, generator.uniform(0.004, 0.012) * side)
    vessels = _blurred(vessels, generator.uniform(0.003, 0.01) * side)
    shares = generator.uniform((0.15, 0.03), (0.8, 0.3)).astype("f4")
    found: FloatArray = soft + bones * shares[0] + vessels * shares[1]
    return found


def _soft_tissue(
    thorax: Thorax, angle: float, frame: tuple[float, float, float, float]
) -> FloatArray:
    """Integrate the attenuation of the solids along parallel rays: GRID x GRID."""
    left, right, high, low = frame
    turn = math.radians(angle)
    z = np.linspace(high, low, GRID, dtype="f4")[:, None, None]
    u = np.linspace(left, right, GRID, dtype="f4")[None, :, None]
    t = np.linspace(-1.3, 1.3, DEPTHS, dtype="f4")[None, None]
    x = (u * math.cos(turn) - t * math.sin(turn)).astype(np.float32)
    y = (u * math.sin(turn) + t * math.cos(turn)).astype(np.float32)
    step = 2.6 / DEPTHS
    integrated: FloatArray = _attenuation(thorax, x, y, z).sum(2) * step
    return integrated


def _attenuation(thorax: Thorax, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    deep = thorax.deep
    across = np.abs(x) ** 2.4 + np.abs(y / deep) ** 2.4  # 1 on the surface of the chest
    heights = thorax.top + np.array([-0.4, -0.1, 0.1, 0.6, 1.4, 2.2], "f4")
    wide = np.interp(z, heights, (0.3, 0.4, 1.1, 1.05, 1.0, thorax.waist)).astype("f4")
    thick = np.interp(z, heights, (0.4, 0.45, 0.7, 0.97, 1.0, thorax.waist)).astype("f4")
    body = np.abs(x / wide) ** 2.4 + np.abs(y / deep / thick) ** 2.4 < 1
    for sign in (-1, 1):
        if thorax.breast:
            at = (0.5 * sign, -deep * 0.95, 0.15)
            body = body | (_ball(x, y, z, at, (0.38, thorax.breast, 0.35)) < 1)
    found = np.where(body, np.float32(TRUNK), np.float32(0))
    tall = np.clip((z - thorax.top) / 0.9, 0, 1) ** 0.5
    dome = np.where(x < 0, thorax.domes[0], thorax.domes[1])
    beyond = np.abs(x) - 0.45
    fall = 0.5 * beyond**2 + thorax.dome_fall * np.clip(y / deep + 0.2, -0.6, 1) ** 2
    beside = np.abs(x) > 0.1 + 0.06 * (y > 0)
    inside = (across < 0.8 * thick**2.4 * tall) & beside & (z < dome + fall)
    lean = 0.5 * (x - thorax.heart_at[0]) - 0.4 * (y - thorax.heart_at[1])
    heart = _ball(x, y, z - lean, thorax.heart_at, thorax.heart) < 1
    aorta = _aorta(thorax, x, y, z)
    found = np.where(inside & ~heart & ~aorta, np.float32(LUNG), found)
    from_windpipe = np.hypot(x, y - 0.12 * deep - 0.12 * (z - thorax.top))
    windpipe = (from_windpipe < WINDPIPE) & (z < FORK) & body
    found = np.where(windpipe, np.float32(0.05), found)
    bubble = (0.5, 0.0, thorax.domes[1] + 0.2)
    found = np.where(_ball(x, y, z, bubble, (0.22, 0.2, 0.12)) < 1, np.float32(0.1), found)
    return np.where(_spine(thorax, x, y, z), np.float32(BONE), found)


def _ball(
    x: FloatArray,
    y: FloatArray,
    z: FloatArray,
    at: tuple[float, float, float],
    axes: tuple[float, float, float],
) -> FloatArray:
    """Return the squared distance from an ellipsoid's middle: 1 on its surface."""
    found: FloatArray = (
        ((x - at[0]) / axes[0]) ** 2 + ((y - at[1]) / axes[1]) ** 2 + ((z - at[2]) / axes[2]) ** 2
    )
    return found


def _aorta(thorax: Thorax, x: FloatArray, y: FloatArray, z: FloatArray) -> NDArray[np.bool_]:
    """Return where the arch and the descending aorta are."""
    radius, arch = 0.11, -0.42
    back = 0.42 * thorax.deep
    ring = np.hypot(np.hypot(y - back / 2, z - arch) - back / 2, x - 0.08) < radius
    down = np.hypot(x - 0.14, y - back) < radius
    found: NDArray[np.bool_] = (ring & (z < arch)) | (down & (z >= arch))
    return found


def _spine_at(thorax: Thorax, z: FloatArray) -> FloatArray:
    """Return how far back the spine is."""
    found: FloatArray = 0.62 * thorax.deep + thorax.curve * np.cos(1.6 * z) - thorax.curve / 2
    return found


def _spine(thorax: Thorax, x: FloatArray, y: FloatArray, z: FloatArray) -> NDArray[np.bool_]:
    """Return where the vertebral bodies and their processes are; discs are soft."""
    behind = y - _spine_at(thorax, z)
    phase = (z * thorax.vertebrae) % 1
    body = ((x / 0.14) ** 2 + (behind / 0.13) ** 2 < 1) & (phase < VERTEBRA)
    process = ((x / 0.035) ** 2 < 1) & (np.abs(behind / 0.1 - 2) < 1) & (phase < PROCESS)
    found: NDArray[np.bool_] = body | process
    return found


def _bones(thorax: Thorax, generator: Generator) -> FloatArray:
    """Return points on ribs, breastbone, shoulder blades, collar bones and arms, N x 4.

    The fourth column is a point's weight.
    """
    parts = [*_ribs(thorax, generator), _breastbone(thorax, generator)]
    for sign in (-1, 1):
        parts.append(_shoulder_blade(thorax, sign, generator))
        if thorax.arms:
            parts.append(_arm(thorax, sign, generator))
    return np.concatenate(parts)


def _ribs(thorax: Thorax, generator: Generator) -> list[FloatArray]:
    along = np.linspace(0, 1, 160, dtype="f4")
    slope = generator.uniform(0.3, 0.6)
    parts = []
    for number in range(thorax.ribs):
        start = thorax.top - 0.1 + number * (max(thorax.domes) - thorax.top + 0.2) / thorax.ribs
        round_ = math.pi * (0.05 + generator.uniform(0.75, 0.85) * along)
        size = min(1.0, 0.5 + 0.2 * number)
        z = start + slope * along * size + 0.03 * np.sin(math.pi * along)
        for sign in (-1, 1):
            x = sign * 0.93 * size * np.sin(round_)
            y = 0.9 * thorax.deep * np.cos(round_)
            for edge in (-0.035, 0, 0.035):
                weight = np.full_like(z, 1.0 if edge else 0.6)
                parts.append(np.stack([x, y, z + edge, weight], 1).astype("f4"))
    return parts


def _breastbone(thorax: Thorax, generator: Generator) -> FloatArray:
    count = 500
    z = generator.uniform(thorax.top + 0.15, thorax.domes[0] - 0.1, count)
    x = generator.uniform(-0.12, 0.12, count)
    y = -0.93 * thorax.deep + 0.06 * (z - z.min()) * -1 + generator.uniform(-0.03, 0.03, count)
    return np.stack([x, y, z, np.ones(count)], 1).astype("f4")


def _shoulder_blade(thorax: Thorax, sign: int, generator: Generator) -> FloatArray:
    count = 600
    a, b = generator.uniform(0, 1, (2, count))
    x = sign * (0.55 + 0.35 * a * (1 - b))
    y = thorax.deep * (0.95 - 0.35 * a)
    z = thorax.top + 0.05 + 0.8 * b
    return np.stack([x, y, z, np.full(count, 0.6)], 1).astype("f4")


def _arm(thorax: Thorax, sign: int, generator: Generator) -> FloatArray:
    """Return the points of a raised arm: tissue around a bone, above and in front."""
    count = 1500
    along = generator.uniform(0, 1, count)
    forward, spread = generator.uniform(-0.2, 1.1), generator.normal(0, 1, (3, count))
    thick = np.where(generator.random(count) < 1 / 2, 0.05, 0.14)
    x = sign * 0.75 + thick * spread[0]
    y = 0.2 * thorax.deep - forward * along + thick * spread[1]
    z = thorax.top + 0.3 - 0.9 * along + thick * spread[2]
    return np.stack([x, y, z, np.full(count, thorax.arms)], 1).astype("f4")


def _vessels(thorax: Thorax, generator: Generator) -> FloatArray:
    """Return points on random walks from both lungs' roots."""
    steps, count = 50, thorax.vessels
    parts = []
    for sign in (-1, 1):
        way = generator.normal(0, 1, (count, 1, 3)) * (0.6, 0.7 * thorax.deep, 0.9)
        way = way + generator.normal(0, 0.8, (count, steps, 3))
        points = np.cumsum(way / steps, 1) * generator.uniform(0.3, 1, (count, 1, 1))
        points = points + np.array([sign * 0.2, 0.05, -0.1])
        weight = np.linspace(1, 0.1, steps)[None, :, None].repeat(count, 0)
        parts.append(np.concatenate([points, weight], 2).reshape(-1, 4))
    return np.concatenate(parts).astype("f4")


def _splatted(
    points: FloatArray, angle: float, frame: tuple[float, float, float, float], side: int
) -> FloatArray:
    """Count weighted points in the pixels of a projection, relative to the densest parts."""
    left, right, high, low = frame
    turn = math.radians(angle)
    u = points[:, 0] * math.cos(turn) + points[:, 1] * math.sin(turn)
    bins = ((high, low), (left, right))
    found, _, _ = np.histogram2d(points[:, 2], u, bins=side, range=bins, weights=points[:, 3])
    smooth = _blurred(found.astype("f4"), 0.006 * side)
    relative: FloatArray = smooth / max(float(np.quantile(smooth, 0.995)), 1e-6)
    return relative


def _enlarged(image: FloatArray, side: int) -> FloatArray:
    enlarged = interpolate(torch.from_numpy(image)[None, None], (side, side), mode="bilinear")
    return _blurred(enlarged[0, 0].numpy(), 0.006 * side)


def _blurred(image: FloatArray, width: float) -> FloatArray:
    """Average a square image with Gaussian weights of a standard deviation of `width` pixels."""
    places = np.arange(len(image), dtype="f4")
    weights = np.exp(-((places[:, None] - places[None]) ** 2) / (2 * width**2))
    weights /= weights.sum(1, keepdims=True)
    blurred: FloatArray = weights @ image @ weights.T
    return blurred


def as_radiograph(attenuation: FloatArray, donor: FloatArray, generator: Generator) -> FloatArray:
    """Give a projection the tones and the grain of a radiograph, both side x side; [-1, 1]."""
    side = len(donor)
    sharpened = attenuation - generator.uniform(0, 0.9) * _blurred(
        attenuation, generator.uniform(0.05, 0.2) * side
    )
    low, high = np.quantile(sharpened, (0.01, 0.99))
    ranks = np.clip((sharpened - low) / max(float(high - low), 1e-6), 0, 1)
    plain = 2 * ranks ** math.exp(generator.uniform(-0.6, 0.6)) - 1
    own = np.quantile(plain, QUANTILES)
    matched = np.interp(plain, np.maximum.accumulate(own), np.quantile(donor, QUANTILES))
    strength = generator.uniform(0, 1)
    toned = strength * matched + (1 - strength) * plain
    detail = donor - _blurred(donor, generator.uniform(0.004, 0.015) * side)
    detail = np.rot90(detail, int(generator.integers(4)))  # grain, and no recognisable anatomy
    detail = np.roll(detail, generator.integers(side, size=2), axis=(0, 1))
    found: FloatArray = np.clip(toned + generator.uniform(0, 1) * detail, -1, 1).astype("f4")
    return found


def lateral_phantom(image: Tensor, generator: Generator) -> Tensor:
    """Project a random thorax from the side, with the tones and the grain of `image` HxW."""
    angle = generator.uniform(*LATERAL) * (1 if generator.random() < 1 / 2 else -1)
    return phantom_at(image, angle, generator)


def frontal_phantom(image: Tensor, generator: Generator) -> Tensor:
    """Project a random thorax from the front or nearly so; it is drawn, but not lateral."""
    return phantom_at(image, generator.uniform(-8, 8), generator)


def phantom_at(image: Tensor, angle: float, generator: Generator) -> Tensor:
    """Project a random thorax, rotated by `angle` degrees, toned like `image` HxW in [-1, 1]."""
    attenuation = project(random_thorax(generator), angle, len(image), generator)
    return torch.from_numpy(as_radiograph(attenuation, image.numpy(), generator))
