"""The renderings of the study of borders, padding, shutters and markers are what it says."""

import csv
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from scripts.preprocessing.load import read_radiograph
from scripts.robustness.renderings import as_file
from scripts.robustness.surroundings import (
    DEPTHS,
    PLAINLY,
    RENDERINGS,
    border_mask,
    described,
    marker_mask,
    references,
    stored,
)
from synthetic.pictures import chest

ROOT: Final = Path(__file__).resolve().parents[3]
HIDING: Final = ("black border", "padding", "shutter")


@pytest.fixture
def luminance() -> np.ndarray:
    return (chest(320, 256, 8) / 255).astype("f4")


def read(name: str, depth: str, luminance: np.ndarray) -> np.ndarray:
    return read_radiograph(as_file(RENDERINGS[name](stored(luminance, depth), depth)))


@pytest.mark.parametrize("depth", DEPTHS)
def test_border_padding_and_shutter_are_shown_alike(luminance: np.ndarray, depth: str) -> None:
    shown = [read(name, depth, luminance) for name in HIDING]
    border = border_mask(*luminance.shape)
    for each in shown:
        assert not each[border].any()
        assert np.abs(each - shown[0]).max() < 0.01


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_rendering_without_a_border_is_linear_to_the_radiograph(
    luminance: np.ndarray, depth: str
) -> None:
    found = read("no border", depth, luminance)
    inside = (luminance > 0.1) & (luminance < 0.9)
    assert np.corrcoef(found[inside], luminance[inside])[0, 1] > 0.999


def test_a_marker_is_white_and_covers_little(luminance: np.ndarray) -> None:
    found, marker = read("marker", "12 bits", luminance), marker_mask(*luminance.shape)
    assert (found[marker] == 1).all()
    assert 0.001 < marker.mean() < 0.01


def test_each_rendering_is_compared_with_its_picture_given_plainly(luminance: np.ndarray) -> None:
    pictures = {name: read_radiograph(file) for name, file in references(luminance).items()}
    assert set(PLAINLY) == set(RENDERINGS)
    assert set(PLAINLY.values()) == set(pictures)
    assert not pictures["with a border"][border_mask(*luminance.shape)].any()
    assert (pictures["with a marker"][marker_mask(*luminance.shape)] == 1).all()
    assert np.abs(pictures["as published"] - luminance).max() < 0.01


def test_the_page_states_the_figures_of_the_table() -> None:
    table = ROOT / "monai_bundle" / "docs" / "predictions" / "surroundings.csv"
    with table.open(newline="") as file:
        lines = described(list(csv.DictReader(file))).splitlines()
    page = (ROOT / "docs" / "reading.md").read_text()
    for line in lines:
        name, _, rest = line.partition(", 12 bits, from ")
        if not rest:
            continue
        figures = rest.partition("median ")[2].split(", ")
        median, high, largest = (
            each.split()[-1] for each in (f"median {figures[0]}", *figures[1:3])
        )
        share = figures[3].split()[0]
        assert f"{median} | {high} | {largest} | {share} |" in page, name
