"""What finished trainings held out is written as a table, and a run on a test split is logged."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scripts.checksum import sha256_of
from scripts.data.datasets import Radiograph
from scripts.data.predictions import FILM_COLUMNS, read_predictions
from scripts.training.heads.__main__ import main
from scripts.training.heads.table import table_of, write_table

pytestmark = pytest.mark.slow

SIDE, COUNT = 32, 120
CATEGORIES = ("opacity", "normal", "other", "abnormal")
PARTS = ("fold-0", "fold-1", "validation", "measuring")


NAMES = ("fold-0+validation", "rsna2018+nlm_shenzhen")


def row(number: int, part: str) -> Radiograph:
    source = ("pediatric", "rsna2018", "nlm_shenzhen")[number // 4 % 3]
    return Radiograph(
        image=f"{number}.png",
        label=float(number % 4 == 0),
        patient=f"{source} person{number}",
        cohort="pediatric" if source == "pediatric" else "adult",
        kind="",
        sha256=f"{number:064x}"[::-1],
        part=part,
        source="rsna2018" if part == "rsna-test" else source,
        category=CATEGORIES[number % 4],
        view="AP",
        sex="F",
        age_group="40-64",
    )


def cache(folder: Path, parts: tuple[str, ...] = PARTS) -> Path:
    folder.mkdir()
    rows = [row(number, parts[number // 12 % len(parts)]) for number in range(COUNT)]
    write_table(table_of(rows), folder / "films.csv")
    levels = np.random.default_rng(4).integers(0, 255, (COUNT, SIDE, SIDE))
    np.save(folder / "levels.npy", levels.astype("u1"))
    np.save(folder / "states.npy", np.ones(COUNT, "u1"))
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cache(tmp_path_factory.mktemp("held") / "films")


@pytest.fixture(scope="module")
def runs(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held") / "runs"
    short = ("--epochs", "1", "--steps", "1", "--batch_size", "8", "--start", "random")
    held_out = [word for name in NAMES for word in ("--held_out", name)]
    torch.manual_seed(3)
    main(["train", "--films", str(films), *short, *held_out, "--output", str(folder)])
    return folder


def test_every_film_that_a_training_held_out_is_in_the_table(
    films: Path, runs: Path, tmp_path: Path
) -> None:
    table = tmp_path / "tables" / "out.csv"
    main(["predict", *(str(runs / n) for n in NAMES), "--films", str(films), "--table", str(table)])
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == FILM_COLUMNS
    by_training = {name: [x for x in lines if x["held_out"] == name] for name in NAMES}
    fold, sources = by_training.values()
    assert {x["part"] for x in fold} == {"fold-0"}
    assert {x["source"] for x in fold} == {"pediatric", "rsna2018", "nlm_shenzhen"}
    assert {x["source"] for x in sources} == {"rsna2018", "nlm_shenzhen"}
    assert {x["part"] for x in sources} == {"fold-0", "fold-1", "validation"}
    assert not any("person" in value or ".png" in value for x in lines for value in x.values())
    results = read_predictions(table)
    assert np.isfinite([results.logits, results.others]).all()
    assert len(np.unique(results.logits)) > 1
    assert np.isnan(results.labels[results.categories == "abnormal"]).all()
    assert set(results.cohorts[results.sources == "pediatric"]) == {"pediatric"}
    assert set(results.cohorts[results.sources != "pediatric"]) == {"adult"}


def test_a_part_can_be_asked_for_instead(films: Path, runs: Path, tmp_path: Path) -> None:
    table = tmp_path / "members.csv"
    asked = ("--films", str(films), "--table", str(table), "--part", "validation")
    main(["predict", str(runs / NAMES[0]), *asked])
    results = read_predictions(table)
    assert set(results.parts) == {"validation"}
    assert set(results.held_out) == {NAMES[0]}
    main(["predict", str(runs / NAMES[0]), *asked[:-1], "measuring"])
    assert set(read_predictions(table).parts) == {"measuring"}


def test_a_part_that_was_trained_on_is_refused(
    films: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--films", str(films), "--table", str(tmp_path / "out.csv"), "--part")
    for name, part in ((NAMES[0], "fold-1"), (NAMES[1], "validation")):
        with pytest.raises(SystemExit) as ended:
            main(["predict", str(runs / name), *asked, part])
        assert ended.value.code == 1
        said = capsys.readouterr().err
        assert said.endswith(f"was trained on {part}: hold it out with {name}+{part}\n")
    assert not (tmp_path / "out.csv").exists()


def test_an_unfinished_training_and_another_cache_are_one_line(
    films: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--films", str(films), "--table", str(tmp_path / "out.csv"))
    for folder, said in (
        (tmp_path, "has no finished training: result.json is missing"),
        (other_side(runs / NAMES[0], tmp_path / "other"), "was trained at 64 pixels, not 32"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["predict", str(folder), *where])
        assert ended.value.code == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert said in error
    with pytest.raises(SystemExit):
        main(["predict", str(runs / NAMES[0]), *where, "--part", "rsna-test"])
    assert "the cache has no film of rsna-test" in capsys.readouterr().err


def other_side(training: Path, folder: Path) -> Path:
    result = json.loads((training / "result.json").read_text())
    result["asked"]["side"] = 64
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_measuring_a_test_split_is_a_line_of_the_log(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = cache(tmp_path / "tested", parts=("rsna-test",))
    weights = runs / NAMES[0] / "settled.pt"
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    for part in ("rsna-test", "rsna-test"):
        main(["measure", str(weights), "--films", str(tested), "--part", part])
    with (tmp_path / "docs" / "test_runs.csv").open(newline="") as file:
        logged = list(csv.DictReader(file))
    assert len(logged) == 2
    assert logged[0]["set"] == "rsna_test"
    assert logged[0]["weights_sha256"] == sha256_of(weights)
    assert 0 < float(logged[0]["auc"]) < 1
    assert logged[0]["accuracy"] == ""
