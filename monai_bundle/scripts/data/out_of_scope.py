"""Pictures that are no upright frontal chest radiograph, made from one.

Each function gives a picture as the network would see it, HxW in [-1, 1]. They teach the gate and
try it on other radiographs; `one_lung_wide` only tries it, because what was made in the same way
as in teaching would only show that the gate learnt the maker's hand.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, pad

from scripts.refusal import Code

Chance = np.random.Generator


def turned(picture: Tensor, chance: Chance) -> Tensor:
    """Turn by a quarter, a half or three, or by any angle from 35 degrees on; some flipped too."""
    if chance.random() < 1 / 2:
        found = picture.rot90(int(chance.integers(1, 4)), (0, 1))
        return found.flip(1) if chance.random() < 1 / 4 else found
    return _rotated(picture, chance.uniform(35, 325))


def upside_down(picture: Tensor, _: Chance) -> Tensor:
    """Put the abdomen above, left staying left."""
    return picture.flip(0)


def mirrored(picture: Tensor, _: Chance) -> Tensor:
    """Put the heart on the right."""
    return picture.flip(1)


def inverted(picture: Tensor, chance: Chance) -> Tensor:
    """Make air bright and bone dark, in any tone."""
    return 2 * ((1 - picture) / 2) ** math.exp(chance.uniform(-0.5, 0.5)) - 1


def cut_off(picture: Tensor, chance: Chance) -> Tensor:
    """Show a window that misses a lung, or the upper or the lower half of both."""
    side = len(picture)
    across, along = chance.uniform(0.3, 0.5), chance.uniform(0.6, 1)
    edge = int(chance.integers(4))
    start = 0.0 if edge % 2 == 0 else 1 - across
    other = chance.uniform(0, 1 - along)
    left, top, wide, tall = (
        (start, other, across, along) if edge < 2 else (other, start, along, across)  # noqa: PLR2004 -- left and right
    )
    window = picture[
        int(top * side) : int((top + tall) * side), int(left * side) : int((left + wide) * side)
    ]
    return _fitted(window, side)


def moved_out(picture: Tensor, chance: Chance) -> Tensor:
    """Move the chest half out of the picture; what comes in is black or the edge, drawn out."""
    side = len(picture)
    shift = round(chance.uniform(0.4, 0.6) * side)
    mode = "constant" if chance.random() < 1 / 2 else "replicate"
    margins = [0, 0, 0, 0]
    edge = int(chance.integers(4))
    margins[edge] = shift
    padded = pad(picture[None, None] + 1, margins, mode=mode)[0, 0] - 1  # 0 is black here
    top = shift if edge == 3 else 0  # noqa: PLR2004 -- padded below, so cut above
    left = shift if edge == 1 else 0
    return padded[top : top + side, left : left + side]


def zoomed_in(picture: Tensor, chance: Chance) -> Tensor:
    """Show a fifth to a third of each side: ribs, a hilum, the abdomen."""
    side = len(picture)
    size = int(chance.uniform(0.2, 0.35) * side)
    top, left = (int(chance.uniform(0, side - size)) for _ in range(2))
    return _fitted(picture[top : top + size, left : left + size], side)


def shuffled(picture: Tensor, chance: Chance) -> Tensor:
    """Cut the picture into tiles and lay them anew: every texture right, no anatomy."""
    side, count = len(picture), int(chance.integers(2, 5))
    size = side // count
    tiles = [
        picture[r * size : (r + 1) * size, c * size : (c + 1) * size]
        for r in range(count)
        for c in range(count)
    ]
    order = [int(k) for k in chance.permutation(len(tiles))]
    if order == sorted(order):
        order.reverse()
    rows = [[tiles[k] for k in order[r * count : (r + 1) * count]] for r in range(count)]
    return _fitted(torch.cat([torch.cat(row, 1) for row in rows]), side)


def lateral_like(picture: Tensor, chance: Chance) -> Tensor:
    """Lay the two lungs over each other, with a spine behind and a breastbone before.

    No lateral radiograph was at hand: this has a lateral one's plan (one field, wide; vertebrae
    along one side), made of a frontal one's parts. A stand-in, and named so wherever it counts.
    """
    side = len(picture)
    half = side // 2
    near, far = picture[:, :half], picture[:, half:].flip(1)
    share = chance.uniform(0.3, 0.7)
    field = _fitted(near * share + far * (1 - share), side)
    field = _sheared(field, chance.uniform(-0.25, 0.25))
    rows = np.linspace(0, 1, side, dtype="f4")[:, None]
    columns = np.linspace(0, 1, side, dtype="f4")[None]
    bend = 0.8 + 0.08 * np.sin(math.pi * rows + chance.uniform(0, 1)) + chance.uniform(-0.06, 0.06)
    column = np.exp(-(((columns - bend) / chance.uniform(0.04, 0.08)) ** 2))
    discs = 0.75 + 0.25 * np.sign(np.sin(2 * math.pi * rows * chance.uniform(9, 14)))
    sternum = np.exp(-(((columns - 0.08 - 0.1 * rows) / 0.025) ** 2)) * chance.uniform(0.2, 0.6)
    ink = torch.from_numpy((column * discs * chance.uniform(0.4, 0.9) + sternum).astype("f4"))
    found = (field + (1 - field) * ink.clamp(0, 1)).clamp(-1, 1)
    return found if chance.random() < 1 / 2 else found.flip(1)


def one_lung_wide(picture: Tensor, chance: Chance) -> Tensor:
    """Draw one half of the chest to the whole width: the spine at an edge, one field."""
    side = len(picture)
    start = int(side * chance.uniform(0, 0.06))
    found = _fitted(picture[:, start : int(side * chance.uniform(0.48, 0.54))], side)
    return found if chance.random() < 1 / 2 else found.flip(1)


FROM_RADIOGRAPHS: Final[tuple[tuple[Code, Callable[[Tensor, Chance], Tensor], float], ...]] = (
    (Code.TURNED, turned, 3),
    (Code.TURNED, upside_down, 1),
    (Code.TURNED, mirrored, 4),
    (Code.INVERTED, inverted, 3),
    (Code.CUT_OFF, cut_off, 2.5),
    (Code.CUT_OFF, moved_out, 1.5),
    (Code.NOT_CHEST, zoomed_in, 1),
    (Code.NOT_CHEST, shuffled, 1),
    (Code.LATERAL, lateral_like, 2.5),
)


def _rotated(picture: Tensor, degrees: float) -> Tensor:
    angle = math.radians(degrees)
    theta = torch.tensor(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]
    )[None].float()
    grid = affine_grid(theta, [1, 1, *picture.shape], align_corners=False)
    return grid_sample(picture[None, None] + 1, grid, align_corners=False)[0, 0] - 1


def _sheared(picture: Tensor, share: float) -> Tensor:
    theta = torch.tensor([[1, share, 0], [0, 1, 0]])[None].float()
    grid = affine_grid(theta, [1, 1, *picture.shape], align_corners=False)
    return grid_sample(picture[None, None] + 1, grid, align_corners=False)[0, 0] - 1


def _fitted(picture: Tensor, side: int) -> Tensor:
    return interpolate(picture[None, None], (side, side), mode="bilinear", antialias=True)[0, 0]
