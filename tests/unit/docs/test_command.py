import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from typer.testing import CliRunner

from service.cli import app

ROOT: Final = Path(__file__).resolve().parents[3]
README: Final = ROOT / "README.md"
STATEMENT: Final = ROOT / "docs" / "conformance_statement.md"
PAGES: Final = sorted([README, *(ROOT / "docs").rglob("*.md")])


def walk(command: Any, *words: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 -- click's, which typer hides
    """Yield each verb with its words: `up`, `worker infer`."""
    for name, each in getattr(command, "commands", {}).items():
        if hasattr(each, "commands"):
            yield from walk(each, *words, name)
        else:
            yield " ".join([*words, name]), each


GROUPS: Final = (
    "worker",
    "user",
    "token",
    "bundle",
    "drift",
    "shadow",
)  # whose verbs have two words
VERBS: Final = dict(walk(typer.main.get_command(app)))


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_in_the_readme_and_its_help_says_what_it_does(verb: str) -> None:
    assert f"`lobar {verb}`" in README.read_text()
    said = CliRunner().invoke(app, [*verb.split(), "--help"], env={"COLUMNS": "200"})
    assert said.exit_code == 0
    first_sentence = VERBS[verb].help.split("\n")[0]
    assert first_sentence in said.output
    assert all(option.help for option in VERBS[verb].params)


def test_every_verb_that_is_named_on_a_page_exists() -> None:
    for page in PAGES:
        named = re.findall(
            rf"(?:^|`|bin/)lobar ((?:(?:{'|'.join(GROUPS)}) )?[a-z]+)",
            page.read_text(),
            re.MULTILINE,
        )
        assert set(named) - set(GROUPS) <= VERBS.keys(), page.name


@pytest.mark.slow
def test_the_conformance_statement_is_what_the_command_says(tmp_path: Path) -> None:
    configuration = tmp_path / "lobar.toml"
    configuration.touch()
    said = subprocess.run(
        [sys.executable, "-m", "service.cli", "conformance"],
        env={"LOBAR_CONFIG": str(configuration)},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == STATEMENT.read_text(), (
        "with LOBAR_CONFIG naming an empty file: lobar conformance > docs/conformance_statement.md"
    )
