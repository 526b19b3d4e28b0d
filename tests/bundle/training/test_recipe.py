"""The recipe trains what is missing, and chooses nothing on a test split."""

import subprocess
from pathlib import Path

import pytest
from scripts.training.recipe import HELD_OUT, Command, main


def planned(tmp_path: Path) -> list[Command]:
    commands: list[Command] = []
    main(["start.pth", "--runs", str(tmp_path)], run=commands.append)
    return commands


def test_every_training_comes_before_the_weights_and_every_table_before_the_choice(
    tmp_path: Path,
) -> None:
    commands = planned(tmp_path)
    trained = [c[c.index("--held_out") + 1] for c in commands if "train" in c]
    assert trained == list(HELD_OUT)
    assert all("validation" in name for name in trained[:5])  # or the ensemble had seen it
    order = [" ".join(command[:2]) for command in commands]
    package = next(k for k, c in enumerate(commands) if c[0].endswith("package_weights"))
    assert order.index("scripts.training.heads train") < package
    assert len(commands[package]) == 1 + 5
    choice = order.index("scripts.evaluation.populations")
    tables = [k for k, command in enumerate(commands) if "--table" in command]
    assert package < min(tables) <= max(tables) < choice
    written = {Path(commands[k][commands[k].index("--table") + 1]).stem for k in tables}
    assert written == {"cross_validation", "members", "out_of_source"}
    shipped = next(k for k, c in enumerate(commands) if c[0].endswith("predict_films"))
    assert package < shipped < choice
    assert not [word for command in commands for word in command if "test" in word.split("-")]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / HELD_OUT[0]).mkdir()
    (tmp_path / HELD_OUT[0] / "result.json").touch()
    trained = [c[c.index("--held_out") + 1] for c in planned(tmp_path) if "train" in c]
    assert trained == [name for name in HELD_OUT if name != HELD_OUT[0]]


def test_a_step_that_fails_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(command: Command) -> None:
        raise subprocess.CalledProcessError(3, ["python", "-m", *command])

    with pytest.raises(SystemExit) as ended:
        main(["start.pth", "--runs", str(tmp_path)], run=fail)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "scripts.training.heads cache" in said
    assert "ended with 3" in said
