"""The luminance of words is what their table says, whether it is looked up or drawn as a line."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scripts.preprocessing.look_up import LookUp, _Line


def window(
    centre: float, width: float, words: int = 4096, *, inverted: bool = False
) -> NDArray[np.float32]:
    values = np.clip((np.arange(words) - centre) / width + 0.5, 0, 1)
    return (1 - values if inverted else values).astype(np.float32)


def every_word(table: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.arange(len(table), dtype=np.uint16)[None]


def written(table: NDArray[np.float32], words: NDArray[np.uint16]) -> NDArray[np.float32]:
    found = np.full(words.shape, np.nan, np.float32)
    LookUp(table, words).write(words, found)
    return found


@pytest.mark.parametrize(
    "table",
    [
        *(window(2048, 4096), window(1000, 1500), window(3000, 300), window(100, 60_000)),
        *(window(2047.5, 4095), window(1000.5, 1501), window(2048, 3)),
        *(window(2048, 4096, inverted=True), window(1000.5, 1499, inverted=True)),
        *(window(30_000, 50_000, words=65_536), window(60_000, 200, words=65_536)),
        (np.arange(256) / 255).astype(np.float32),
        (np.arange(65_536) / 65_535).astype(np.float32),
        (1 - np.arange(4096) / 4095).astype(np.float32),
    ],
)
def test_a_window_is_drawn_as_a_line_to_the_last_bit(table: NDArray[np.float32]) -> None:
    assert _Line.of(table) is not None
    assert np.array_equal(written(table, every_word(table))[0], table)


def with_padding(table: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = table.copy()
    padded[4000] = 0
    return padded


@pytest.mark.parametrize(
    "table",
    [
        window(2048, 4096) ** np.float32(2),  # a curve
        *(window(2048.3, 4096), window(2048, 4096.7)),  # of decimals
        np.full(4096, 0.5, np.float32),
        with_padding(window(2048, 4096)),
        np.where(window(2048, 4096) > 0.5, window(1000, 4096), window(2048, 4096)),
        (window(2048, 1) > 0).astype(np.float32),  # black and white alone
        np.zeros(4096, np.float32),
        np.ones(1, np.float32),
    ],
)
def test_what_is_no_line_is_looked_up(table: NDArray[np.float32]) -> None:
    assert _Line.of(table) is None
    assert np.array_equal(written(table, every_word(table))[0], table)


def test_only_words_that_the_image_has_decide() -> None:
    """Beyond them a table repeats itself, where a word has bits of an overlay."""
    table = np.tile(window(2048, 4096), 16)
    words = every_word(table)[:, :4096]
    assert _Line.of(table[:4096]) is not None
    assert np.array_equal(written(table, words)[0], table[:4096])
    assert np.array_equal(written(table, every_word(table))[0], table)


def test_an_image_without_pixels_has_no_luminance() -> None:
    assert written(window(2048, 4096), np.empty((0, 5), np.uint16)).shape == (0, 5)
