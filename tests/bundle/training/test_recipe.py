"""The recipe trains what is missing, and chooses nothing on a test split."""

import subprocess
from pathlib import Path

import pytest
from scripts.training.recipe import MEMBERS, Command, main


def planned(tmp_path: Path) -> list[Command]:
    commands: list[Command] = []
    main(["start.pth", "boxes.zip", "--runs", str(tmp_path)], run=commands.append)
    return commands


def trained(commands: list[Command]) -> list[str]:
    return [command[command.index("--fold") + 1] for command in commands if "--fold" in command]


def test_every_member_comes_before_the_weights_and_every_table_before_the_choice(
    tmp_path: Path,
) -> None:
    commands = planned(tmp_path)
    assert trained(commands) == list(MEMBERS)
    order = [command[0].removeprefix("scripts.") for command in commands]
    assert order[5:] == [
        "training.package_weights",
        "training.heads",
        "training.adults",
        "training.train_gate",
        "evaluation.predict_films",
        "evaluation.populations",
        "robustness",
    ]
    assert len(commands[5]) == 1 + 5
    assert not [word for command in commands for word in command if "test" in word.split("-")]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "fold-0").mkdir()
    (tmp_path / "fold-0" / "settled.pt").touch()
    assert trained(planned(tmp_path)) == [name for name in MEMBERS if name != "fold-0"]


def test_a_step_that_fails_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(command: Command) -> None:
        raise subprocess.CalledProcessError(3, ["python", "-m", *command])

    with pytest.raises(SystemExit) as ended:
        main(["start.pth", "boxes.zip", "--runs", str(tmp_path)], run=fail)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "monai.bundle run" in said
    assert "ended with 3" in said
