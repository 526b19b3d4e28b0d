"""The cache has the bundle's own input for each usable film, once, and no film of a test split."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scripts.bundle.files import build_component
from scripts.data.datasets import Radiograph
from scripts.training.heads import cache
from scripts.training.heads.__main__ import main
from scripts.training.heads.cache import read_cache, write_cache
from scripts.training.heads.table import table_of

SIDE = 32


def film(folder: Path, number: int, part: str = "fold-0", category: str = "normal") -> Radiograph:
    """A row of a manifest and its file; a film of the number 0 is black."""
    levels = np.random.default_rng(number).integers(0, 255, (80, 64)) * (number > 0)
    path = folder / f"{number}.png"
    Image.fromarray(levels.astype("u1")).save(path)
    return Radiograph(
        image=str(path),
        label=float(category == "opacity"),
        patient=f"p{number}",
        cohort="adult",
        sha256=f"{number:064}",
        part=part,
        source="nih_misc" if number == 1 else "rsna2018",
        category=category,
    )


@pytest.fixture
def rows(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Radiograph]:
    monkeypatch.chdir(bundle)  # the configuration is read from there
    return [
        film(tmp_path, 0),
        film(tmp_path, 1, "validation", "other"),
        film(tmp_path, 2, "fold-3", "opacity"),
        film(tmp_path, 3, "rsna-test", "opacity"),
        film(tmp_path, 4, "test"),
        film(tmp_path, 5, "excluded"),
        film(tmp_path, 6, "measuring", "left-out"),
    ]


def test_a_film_is_what_the_bundle_s_preprocessing_makes_of_it(
    rows: list[Radiograph], tmp_path: Path
) -> None:
    found = write_cache(rows, tmp_path / "films", side=224)
    films = read_cache(tmp_path / "films")
    assert found == {"decoded": 2, "refused": 1}  # the black one
    assert list(films.table.source) == ["nih", "rsna2018"]
    assert list(films.table.patient) == ["p1", "p2"]
    wanted = build_component("preprocessing")({"image": rows[1]["image"]})["image"]
    assert films.images(np.array([0])) == pytest.approx(wanted[None].numpy(), abs=1 / 254)


def test_the_test_splits_are_decoded_only_when_asked_for_and_never_trained_on(
    rows: list[Radiograph], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cache(rows, tmp_path / "films", side=SIDE)
    assert set(read_cache(tmp_path / "films").table.part) == {"validation", "fold-3"}
    with_test = tmp_path / "with-test"
    write_cache(rows, with_test, side=SIDE, with_test=True)
    assert set(read_cache(with_test, with_test=True).table.part) >= {"rsna-test", "test"}
    with pytest.raises(SystemExit) as ended:
        main(["train", "--films", str(with_test), "--held_out", "fold-3"])
    assert ended.value.code == 1
    assert "has films of a test split" in capsys.readouterr().err


def test_an_interrupted_cache_is_refused_and_continued_without_decoding_anything_twice(
    rows: list[Radiograph], tmp_path: Path
) -> None:
    folder = tmp_path / "films"
    content = Path(rows[2]["image"]).read_bytes()
    Path(rows[2]["image"]).unlink()
    with pytest.raises(FileNotFoundError):
        write_cache(rows, folder, side=SIDE)
    with pytest.raises(ValueError, match="lacks 1 films: run `cache` again"):
        read_cache(folder)
    Path(rows[1]["image"]).unlink()  # it is known already
    Path(rows[2]["image"]).write_bytes(content)
    assert write_cache(rows, folder, side=SIDE, workers=2) == {"decoded": 2, "refused": 1}
    assert read_cache(folder).images(np.arange(2)).std() > 0.3


def test_a_cache_is_not_continued_with_other_films_or_another_side(
    rows: list[Radiograph], tmp_path: Path
) -> None:
    write_cache(rows, tmp_path / "films", side=SIDE)
    with pytest.raises(ValueError, match="name another folder"):
        write_cache(rows, tmp_path / "films", side=64)
    with pytest.raises(ValueError, match="name another folder"):
        write_cache(rows[:2], tmp_path / "films", side=SIDE)
    with pytest.raises(ValueError, match="a multiple of 32"):
        write_cache(rows, tmp_path / "films", side=100)
    with pytest.raises(ValueError, match="no film that a head could learn from"):
        write_cache(rows[3:], tmp_path / "none", side=SIDE)


def test_what_a_category_teaches_is_1_0_or_unknown_for_each_head(rows: list[Radiograph]) -> None:
    taught = [{**rows[0], "category": name} for name in ("opacity", "other", "normal", "abnormal")]
    labels = table_of(Radiograph(**row) for row in taught).labels  # type: ignore[typeddict-item]
    nan = float("nan")
    wanted = [[1, nan, 0], [0, 1, 0], [0, 0, 1], [nan, nan, 0]]
    assert np.array_equal(labels, np.array(wanted, np.float32), equal_nan=True)


def test_a_hospital_s_own_list_has_categories_from_its_labels() -> None:
    own = [
        Radiograph(image="", label=label, patient="p", cohort="hospital", sha256="s", part="fold-0")
        for label in (1.0, 0.0)
    ]
    table = table_of(own)
    assert list(table.category) == ["opacity", "normal"]
    assert set(table.source) == {"hospital"}


def test_bytes_become_the_range_of_the_network_s_input() -> None:
    assert cache.scaled(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
