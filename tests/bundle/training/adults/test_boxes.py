"""Boxes of opacities are read and laid on a grid."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from scripts.training.adults.__main__ import main
from scripts.training.adults.boxes import GRID, UNKNOWN, boxed_places, read_boxes
from scripts.training.heads.table import FilmTable

LIST = """patientId,x,y,width,height,Target
a,256,512,128,256,1
a,640,0,384,1024,1
b,,,,,0
"""


def table(categories: list[str]) -> FilmTable:
    blank = np.full(len(categories), "")
    return FilmTable(
        sha256=blank,
        source=blank,
        category=np.array(categories),
        patient=blank,
        view=blank,
        sex=blank,
        age_group=blank,
        part=blank,
        film=np.array(["a", "b", "c", "d"][: len(categories)]),
    )


def test_boxes_are_fractions_of_the_film(tmp_path: Path) -> None:
    path, packed = tmp_path / "labels.csv", tmp_path / "labels.csv.zip"
    path.write_text(LIST)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(path, "labels.csv")
    assert read_boxes(path) == {"a": [(0.25, 0.5, 0.375, 0.75), (0.625, 0, 1, 1)]}
    assert read_boxes(packed) == read_boxes(path)


def test_a_list_of_something_else_ends_the_command_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.csv").write_text("patientId,x,y\n")
    with pytest.raises(ValueError, match="it has no column height"):
        read_boxes(tmp_path / "other.csv")
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "other.csv"), "--films", str(tmp_path / "none")])
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_places_inside_a_box_are_known_where_the_film_is_known() -> None:
    found = boxed_places(
        table(["opacity", "normal", "opacity", "abnormal"]), {"a": [(0.25, 0.5, 0.375, 0.75)]}
    )
    assert found.shape == (4, GRID, GRID)
    assert found[0, GRID // 2 : GRID * 3 // 4, GRID // 4 : GRID * 3 // 8].min() == 1
    assert found[0].sum() == (GRID // 4) * (GRID // 8)
    assert (found[1] == 0).all()  # a normal film has an opacity nowhere
    assert (found[2] == UNKNOWN).all()  # an opacity without a box
    assert (found[3] == UNKNOWN).all()
