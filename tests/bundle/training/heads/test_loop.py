"""A training learns from balanced batches, leaves out what is not known, and continues."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.training.heads.__main__ import main
from scripts.training.heads.cache import LEVELS, LIST, READY, STATES, Films
from scripts.training.heads.loop import Settings, Training, masked_loss, rate_at
from scripts.training.heads.measure import LEAST, areas, areas_by_source, worst_area
from scripts.training.heads.network import SeveralHeads
from scripts.training.heads.sampling import split_films
from scripts.training.heads.table import FilmTable, write_table

SIDE, COUNT = 32, 160
CATEGORIES = np.array(["opacity", "normal", "opacity", "other"])
CPU = torch.device("cpu")
SHORT = Settings(epochs=2, steps=2, batch_size=8, still_blocks=-1)
SMALL = ((1, 3, 1, 1, 16), (1, 3, 2, 3, 24), (1, 3, 2, 3, 40))
nan = float("nan")


@pytest.fixture(scope="module")
def films() -> Films:
    """Three sources of different tones; stripes stand for an opacity, a bright half for another."""
    chance = np.random.default_rng(3)
    number = np.arange(COUNT)
    category = CATEGORIES[number % 4]
    source = np.array(["a", "b", "held"])[number // 4 % 3]
    levels = chance.integers(0, 90, (COUNT, SIDE, SIDE))
    levels += 90 * (category == "opacity")[:, None, None] * (np.arange(SIDE) % 8 > 3)
    levels += 60 * (category == "other")[:, None, None] * (np.arange(SIDE) < 16)[:, None]
    levels += np.where(source == "b", 60, 0)[:, None, None]
    blank = np.full(COUNT, "")
    table = FilmTable(
        sha256=np.array([f"{k:03}" for k in number]),
        source=source,
        category=category,
        patient=np.array([f"p{k}" for k in number]),
        view=blank,
        sex=blank,
        age_group=blank,
        part=np.array([f"fold-{k % 5}" for k in number]),
        film=blank,
    )
    return Films(table=table, levels=levels.astype("u1"), places=number)


def fresh_network() -> SeveralHeads:
    """A network of three blocks, so that the trainings are short."""
    torch.manual_seed(1)
    return SeveralHeads(EfficientNetLite(stages=SMALL))


def training(films: Films, folder: Path, settings: Settings = SHORT, **asked: object) -> Training:
    split = split_films(films.table, "held")
    return Training(films, split, fresh_network(), settings, folder=folder, device=CPU, asked=asked)


def test_what_is_not_known_counts_in_no_head() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    labels = torch.tensor([[1, nan, 0], [nan, nan, 1]])
    masked_loss(logits, labels).backward()
    assert logits.grad is not None
    assert (logits.grad == 0).tolist() == [[False, True, False], [True, True, False]]
    only = masked_loss(torch.zeros(1, 3), torch.tensor([[1.0, nan, nan]]))
    assert float(only) == pytest.approx(np.log(2), abs=1e-3)
    assert float(masked_loss(torch.zeros(1, 3), torch.full((1, 3), nan))) == 0


def test_the_learning_rate_rises_and_then_falls_to_nearly_nothing() -> None:
    rates = [rate_at(share) for share in np.linspace(0, 1, 41)]
    assert max(rates) == pytest.approx(1)
    top = rates.index(max(rates))
    assert 0 < top < 5
    assert rates == sorted(rates[:top]) + sorted(rates[top:], reverse=True)
    assert 0 < rates[-1] <= 1e-3


def test_a_training_finds_the_disease_in_a_source_it_did_not_see(
    films: Films, tmp_path: Path
) -> None:
    settings = Settings(
        epochs=2, steps=14, batch_size=24, learning_rate=2e-3, average_decay=0.8, still_blocks=-1
    )
    result = training(films, tmp_path, settings).run()
    assert result["worst"] == result["held_out"]["held"]["opacity"]
    assert result["worst"] > 0.9
    lines = [json.loads(line) for line in (tmp_path / "epochs.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[1]["loss"] < lines[0]["loss"]
    assert set(lines[1]["held_out"]) == {"held"}
    assert {"opacity", "opacity_against_normal", "opacity_against_other", "normal"} <= set(
        lines[1]["held_out"]["held"]
    )


def test_an_interrupted_training_ends_with_the_same_weights(films: Films, tmp_path: Path) -> None:
    training(films, tmp_path / "whole").run()
    interrupted = training(films, tmp_path / "again")
    interrupted.folder.mkdir()
    interrupted._run_epoch()
    continued = training(films, tmp_path / "again")
    continued.run()
    assert continued.state["step"] == 4
    whole, again = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["network"]
        for name in ("whole", "again")
    )
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    with pytest.raises(ValueError, match="a training with normalisation None, not local"):
        training(films, tmp_path / "again", normalisation="local").run()


def test_a_training_ends_when_its_minutes_are_over(films: Films, tmp_path: Path) -> None:
    short = training(films, tmp_path, Settings(epochs=9, batch_size=8, minutes=1e-6))
    result = short.run()
    assert (short.state["epoch"], short.state["step"]) == (1, 1)
    assert result["asked"]["minutes"] == 1e-6
    assert (tmp_path / "settled.pt").exists()


def test_frozen_layers_stay_as_they_were(films: Films, tmp_path: Path) -> None:
    made = training(films, tmp_path, Settings(epochs=1, steps=1, batch_size=8, still_blocks=2))
    before = {name: tensor.clone() for name, tensor in made.network.state_dict().items()}
    made.run()
    after = made.network.state_dict()
    frozen = [name for name in after if name.startswith(("backbone.stem", "backbone.blocks.1."))]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["others.weight"], after["others.weight"])


def test_areas_are_by_source_and_only_where_there_are_enough_films(films: Films) -> None:
    table = films.table
    scores = np.nan_to_num(table.labels, nan=0.5).astype(float)
    scores[table.source == "b", 0] *= -1
    found = areas_by_source(table, scores)
    assert found["a"]["opacity"] == 1
    assert found["b"]["opacity"] == 0
    assert worst_area(found) == 0
    few = areas(table.take(np.arange(LEAST)), scores[:LEAST])
    assert "opacity" not in few
    assert worst_area({"few": few}) is None
    assert worst_area({"few": few, "normal": {"normal": 0.7}, "a": found["a"]}) == 0.7


def cached(films: Films, folder: Path) -> Path:
    """The films as the command reads them."""
    folder.mkdir()
    np.save(folder / LEVELS, films.levels)
    np.save(folder / STATES, np.full(COUNT, READY, "u1"))
    write_table(films.table, folder / LIST)
    return folder


def test_the_command_trains_once_for_each_source_left_out_and_measures(
    films: Films, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ("--films", str(cached(films, tmp_path / "films")))
    short = ("--epochs", "1", "--steps", "1", "--batch_size", "8", "--start", "random")
    held_out = ("--held_out", "a", "--held_out", "held")
    main(["train", *cache, *short, *held_out, "--output", str(tmp_path / "runs")])
    summary = json.loads((tmp_path / "runs" / "summary.json").read_text())
    assert summary["worst"] == min(summary["areas"].values())
    for name in ("a", "held"):
        assert set(summary["trainings"][name]["held_out"]) == {name}
    capsys.readouterr()
    weights = str(tmp_path / "runs" / "a" / "settled.pt")
    main(["measure", weights, *cache, "--part", "fold-1"])
    found = json.loads(capsys.readouterr().out)
    assert sum(each["films"] for each in found.values()) == COUNT // 5
    with pytest.raises(SystemExit):
        main(["measure", weights, *cache, "--part", "rsna-test"])
    assert "has no film of rsna-test" in capsys.readouterr().err


def test_settings_without_sense_and_a_folder_without_films_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="steps is 0: it must be above 0"):
        Settings(steps=0)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--films", str(tmp_path), "--held_out", "validation"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"no cache in {tmp_path}: make one with `cache`\n"
