"""The picture of a radiograph for people: at most so large, and averaged, not sampled."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from workers.inference.pipeline import PICTURE_SIDE, read_picture, read_radiograph


class Opened:
    """A stand-in for a bundle's preprocessing, whose first transform returns this image."""

    def __init__(self, image: torch.Tensor) -> None:
        self.image = image
        self.asked: dict[str, Any] = {}

    def __call__(self, data: Mapping[str, Any], *, end: int) -> dict[str, Any]:
        assert end == 1
        self.asked = dict(data)
        return {"image": self.image}


def reads_both(data: Mapping[str, Any]) -> dict[str, Any]:
    """Stand in for the preprocessing of a bundle that reads input and picture at once."""
    assert data["image_picture"] == PICTURE_SIDE
    return {"image": torch.zeros((1, 2, 2)), "image_picture": torch.rand((1, 2048, 1500))}


def reads_input(data: Mapping[str, Any]) -> dict[str, Any]:
    """Stand in for one that does not know of it, and leaves what it does not know."""
    return dict(data) | {"image": torch.zeros((1, 2, 2))}


def drops_what_it_does_not_know(_: Mapping[str, Any]) -> dict[str, Any]:
    """Stand in for one that returns its image alone."""
    return {"image": torch.zeros((1, 2, 2))}


def test_a_picture_that_is_read_at_once_is_as_large_as_one_that_is_read_apart(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file.dcm"
    path.touch()
    found = read_radiograph(reads_both, path, with_picture=True)
    assert found.picture is not None
    assert found.picture.shape == (1024, 750)


@pytest.mark.parametrize("preprocessing", [reads_input, drops_what_it_does_not_know])
def test_a_bundle_need_not_read_both_at_once(
    tmp_path: Path, preprocessing: Callable[..., dict[str, Any]]
) -> None:
    path = tmp_path / "file.dcm"
    path.touch()
    assert read_radiograph(preprocessing, path, with_picture=True).picture is None
    assert read_radiograph(preprocessing, path).picture is None


@pytest.mark.parametrize(
    ("rows", "columns", "shape"),
    [
        (2048, 2048, (1024, 1024)),
        (4096, 2048, (1024, 512)),
        (2500, 2048, (1024, 839)),
        (2049, 2047, (1024, 1023)),
        (2048, 3, (1024, 2)),
        (1000, 600, (1000, 600)),
    ],
)
def test_a_picture_is_the_mean_of_the_pixels_that_each_of_its_own_covers(
    tmp_path: Path, rows: int, columns: int, shape: tuple[int, int]
) -> None:
    path = tmp_path / "file.dcm"
    path.touch()
    image = torch.rand((1, rows, columns), generator=torch.Generator().manual_seed(1))
    opened = Opened(image)
    picture = read_picture(opened, path)
    assert picture.shape == shape
    expected = torch.nn.functional.interpolate(image[None], shape, mode="area")[0, 0]
    torch.testing.assert_close(torch.from_numpy(picture), expected, atol=1e-6, rtol=0)
    assert opened.asked["image_for_people"] == PICTURE_SIDE
