"""Seeded mutations of valid bytes: the same seed and number give the same bytes."""

import random
import struct
from collections.abc import Callable, Sequence
from typing import Final

_LONGEST_INSERTION: Final = 64
_NUMBERS: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def chance(seed: int, number: int) -> random.Random:
    """Return the source of chance of one case of a run."""
    return random.Random(f"{seed}/{number}")


def mutated(valid: bytes, by: random.Random, *, most: int = 4) -> bytes:
    """Apply one to `most` mutations to valid bytes."""
    content = bytearray(valid)
    for _ in range(by.randint(1, most)):
        by.choice(_MUTATIONS)(content, by)
    return bytes(content)


def _flip(content: bytearray, by: random.Random) -> None:
    if content:
        content[by.randrange(len(content))] ^= 1 << by.randrange(8)


def _replace(content: bytearray, by: random.Random) -> None:
    if content:
        content[by.randrange(len(content))] = by.randrange(256)


def _truncate(content: bytearray, by: random.Random) -> None:
    del content[by.randint(0, len(content)) :]


def _remove(content: bytearray, by: random.Random) -> None:
    start = by.randint(0, len(content))
    del content[start : start + by.randint(1, _LONGEST_INSERTION)]


def _insert(content: bytearray, by: random.Random) -> None:
    start = by.randint(0, len(content))
    content[start:start] = by.randbytes(by.randint(1, _LONGEST_INSERTION))


def _repeat(content: bytearray, by: random.Random) -> None:
    start = by.randint(0, len(content))
    content[start:start] = content[start : start + by.randint(1, _LONGEST_INSERTION)]


def _set_number(content: bytearray, by: random.Random) -> None:
    """Write a number at the edge of its range where a length, a count or a tag may stand."""
    code = by.choice(("<H", ">H", "<L", ">L"))
    size = struct.calcsize(code)
    if len(content) >= size:
        start = by.randint(0, len(content) - size)
        number = by.choice(_NUMBERS) & ((1 << 8 * size) - 1)
        content[start : start + size] = struct.pack(code, number)


_MUTATIONS: Final[Sequence[Callable[[bytearray, random.Random], None]]] = (
    *(_flip, _replace, _truncate, _remove, _insert, _repeat),
    *(_set_number, _set_number, _set_number),
)
