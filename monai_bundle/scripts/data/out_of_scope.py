"""Make images that are out of scope from an upright frontal chest radiograph.

Each function takes a prepared image, HxW in [-1, 1], and a random generator, and returns a changed
image of the same shape and range. They train the gate, and test it on other radiographs;
`one_lung_wide` only tests it, to show whether the gate generalises beyond the images that it was
trained on.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, pad

from scripts.data.thorax_phantom import frontal_phantom, lateral_phantom
from scripts.refusal import RefusalCode

Generator = np.random.Generator
Change = Callable[[Tensor, Generator], Tensor]


def turned(image: Tensor, generator: Generator) -> Tensor:
    """Rotate by a multiple of 90 degrees, sometimes with a flip, or by 35 to 325 degrees."""
    if generator.random() < 1 / 2:
        changed = image.rot90(int(generator.integers(1, 4)), (0, 1))
        return changed.flip(1) if generator.random() < 1 / 4 else changed
    return _rotated(image, generator.uniform(35, 325))


def upside_down(image: Tensor, _: Generator) -> Tensor:
    """Flip vertically: the abdomen is above, and left stays left."""
    return image.flip(0)


def mirrored(image: Tensor, _: Generator) -> Tensor:
    """Flip horizontally: the heart is on the right."""
    return image.flip(1)


def inverted(image: Tensor, generator: Generator) -> Tensor:
    """Invert the intensities, with a random gamma: air is bright and bone is dark."""
    return 2 * ((1 - image) / 2) ** math.exp(generator.uniform(-0.5, 0.5)) - 1


def cut_off(image: Tensor, generator: Generator) -> Tensor:
    """Crop to a window without one of the lungs, or without the upper or lower half of both."""
    side = len(image)
    across, along = generator.uniform(0.3, 0.5), generator.uniform(0.6, 1)
    edge = int(generator.integers(4))
    start = 0.0 if edge % 2 == 0 else 1 - across
    other = generator.uniform(0, 1 - along)
    left, top, wide, tall = (
        (start, other, across, along) if edge < 2 else (other, start, along, across)  # noqa: PLR2004 -- left and right
    )
    window = image[
        int(top * side) : int((top + tall) * side), int(left * side) : int((left + wide) * side)
    ]
    return _resized(window, side)


def moved_out(image: Tensor, generator: Generator) -> Tensor:
    """Shift the chest half out of the image; fill with black or by repeating the edge."""
    side = len(image)
    shift = round(generator.uniform(0.4, 0.6) * side)
    mode = "constant" if generator.random() < 1 / 2 else "replicate"
    margins = [0, 0, 0, 0]
    edge = int(generator.integers(4))
    margins[edge] = shift
    padded = (
        pad(image[None, None] + 1, margins, mode=mode)[0, 0] - 1
    )  # +1: black is 0, as is the padding
    top = shift if edge == 3 else 0  # noqa: PLR2004 -- padded below, so cut above
    left = shift if edge == 1 else 0
    return padded[top : top + side, left : left + side]


def zoomed_in(image: Tensor, generator: Generator) -> Tensor:
    """Crop to a fifth to a third of each side: ribs, a hilum, the abdomen."""
    side = len(image)
    size = int(generator.uniform(0.2, 0.35) * side)
    top, left = (int(generator.uniform(0, side - size)) for _ in range(2))
    return _resized(image[top : top + size, left : left + size], side)


def shuffled(image: Tensor, generator: Generator) -> Tensor:
    """Cut the image into tiles and permute them: true textures without anatomy."""
    side, count = len(image), int(generator.integers(2, 5))
    size = side // count
    tiles = [
        image[r * size : (r + 1) * size, c * size : (c + 1) * size]
        for r in range(count)
        for c in range(count)
    ]
    order = [int(k) for k in generator.permutation(len(tiles))]
    if order == sorted(order):
        order.reverse()
    rows = [[tiles[k] for k in order[r * count : (r + 1) * count]] for r in range(count)]
    return _resized(torch.cat([torch.cat(row, 1) for row in rows]), side)


def lateral_like(image: Tensor, generator: Generator) -> Tensor:
    """Superimpose the two lungs, with a drawn spine behind and a drawn breastbone in front.

    No lateral radiograph was available: this has the layout of one (a single wide field, vertebrae
    along one side), made of the parts of a frontal one. Reports name it "lateral-like".
    """
    side = len(image)
    half = side // 2
    near, far = image[:, :half], image[:, half:].flip(1)
    share = generator.uniform(0.3, 0.7)
    field = _resized(near * share + far * (1 - share), side)
    field = _sheared(field, generator.uniform(-0.25, 0.25))
    rows = np.linspace(0, 1, side, dtype="f4")[:, None]
    columns = np.linspace(0, 1, side, dtype="f4")[None]
    bend = (
        0.8
        + 0.08 * np.sin(math.pi * rows + generator.uniform(0, 1))
        + generator.uniform(-0.06, 0.06)
    )
    column = np.exp(-(((columns - bend) / generator.uniform(0.04, 0.08)) ** 2))
    discs = 0.75 + 0.25 * np.sign(np.sin(2 * math.pi * rows * generator.uniform(9, 14)))
    sternum = np.exp(-(((columns - 0.08 - 0.1 * rows) / 0.025) ** 2)) * generator.uniform(0.2, 0.6)
    ink = torch.from_numpy((column * discs * generator.uniform(0.4, 0.9) + sternum).astype("f4"))
    changed = (field + (1 - field) * ink.clamp(0, 1)).clamp(-1, 1)
    return changed if generator.random() < 1 / 2 else changed.flip(1)


def folded(image: Tensor, generator: Generator) -> Tensor:
    """Fold the chest at its midline: the real spine at the back, a drawn heart at the front.

    The halves differ in width and height as those of a lateral view do, whose beam diverges; the
    outline narrows to the neck, and air may lie before and behind it.
    """
    side = len(image)
    middle = int(side * generator.uniform(0.46, 0.54))
    halves = (image[:, :middle].flip(1), image[:, middle:])
    near, far = (_enlarged_by(half, generator, side) for half in halves)
    share = generator.uniform(0.3, 0.7)
    rows, columns = (torch.linspace(0, 1, side)[:, None], torch.linspace(0, 1, side)[None])
    reach = [generator.uniform(low, high) for low, high in ((0.02, 0.15), (0.0, 0.25))]
    heart = ((columns - generator.uniform(0.55, 0.75)) / generator.uniform(0.15, 0.3)) ** 2
    heart = heart + ((rows - generator.uniform(0.55, 0.75)) / generator.uniform(0.12, 0.25)) ** 2
    shade = torch.sigmoid((1 - heart) / 0.2) * generator.uniform(0, 0.8)
    field = near * share + far * (1 - share)
    field = field + (1 - field) * shade
    narrow = (reach[1] * (1 - rows / generator.uniform(0.2, 0.5)).clamp(min=0)) + reach[0] * (
        generator.random() < 1 / 2
    )
    inside = torch.sigmoid(torch.minimum(columns - narrow, 1 - narrow - columns) / 0.01)
    outside = -1 + generator.uniform(0, 0.3)
    changed = (outside + (field - outside) * inside).clamp(-1, 1)
    return changed if generator.random() < 1 / 2 else changed.flip(1)


def _enlarged_by(half: Tensor, generator: Generator, side: int) -> Tensor:
    """Cut a random window from half a chest, beginning at the spine, and enlarge it."""
    tall, wide = half.shape
    top, low = generator.uniform(0, 0.08), generator.uniform(0.9, 1)
    across = generator.uniform(0.8, 1)
    return _resized(half[int(top * tall) : int(low * tall), : int(across * wide)], side)


def one_lung_wide(image: Tensor, generator: Generator) -> Tensor:
    """Stretch one half of the chest to the full width: one field, with the spine at an edge."""
    side = len(image)
    start = int(side * generator.uniform(0, 0.06))
    changed = _resized(image[:, start : int(side * generator.uniform(0.48, 0.54))], side)
    return changed if generator.random() < 1 / 2 else changed.flip(1)


# Reason, function and relative frequency in training. A thorax that is drawn from the front has
# no reason: the gate must tell a lateral view by what it shows, not by its being drawn.
CHANGES: Final[tuple[tuple[RefusalCode | None, Change, float], ...]] = (
    (RefusalCode.TURNED, turned, 3),
    (RefusalCode.TURNED, upside_down, 1),
    (RefusalCode.TURNED, mirrored, 6),
    (RefusalCode.INVERTED, inverted, 3),
    (RefusalCode.CUT_OFF, cut_off, 2.5),
    (RefusalCode.CUT_OFF, moved_out, 1.5),
    (RefusalCode.NOT_CHEST, zoomed_in, 1),
    (RefusalCode.NOT_CHEST, shuffled, 1),
    (RefusalCode.LATERAL, lateral_like, 2),
    (RefusalCode.LATERAL, folded, 2),
    (RefusalCode.LATERAL, lateral_phantom, 4),
    (None, frontal_phantom, 1.5),
)


def _rotated(image: Tensor, degrees: float) -> Tensor:
    angle = math.radians(degrees)
    theta = torch.tensor(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]
    )[None].float()
    grid = affine_grid(theta, [1, 1, *image.shape], align_corners=False)
    return grid_sample(image[None, None] + 1, grid, align_corners=False)[0, 0] - 1


def _sheared(image: Tensor, share: float) -> Tensor:
    theta = torch.tensor([[1, share, 0], [0, 1, 0]])[None].float()
    grid = affine_grid(theta, [1, 1, *image.shape], align_corners=False)
    return grid_sample(image[None, None] + 1, grid, align_corners=False)[0, 0] - 1


def _resized(image: Tensor, side: int) -> Tensor:
    return interpolate(image[None, None], (side, side), mode="bilinear", antialias=True)[0, 0]
