"""`make test` runs every folder of tests; the other targets are the same with less or more."""

import re
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]


def recipe(target: str) -> list[str]:
    """Return the lines of a target's recipe."""
    found = re.search(
        rf"^{target}: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert found is not None
    return [line.strip() for line in found[1].splitlines()]


def lines_with_tests() -> list[str]:
    """Return the commands with which `make test` runs tests."""
    lines = recipe("test")
    assert "@$(MAKE) -j2 --output-sync=target test-bundle check" in lines
    return [line for line in [*recipe("test-bundle"), *lines] if "tests/" in line]


def test_no_folder_of_tests_is_left_out() -> None:
    run = {folder for line in lines_with_tests() for folder in re.findall(r"\btests/\w+", line)}
    there = {
        f"tests/{path.relative_to(ROOT / 'tests').parts[0]}"
        for path in (ROOT / "tests").glob("*/**/test_*.py")
    }
    assert run == there
    assert not list((ROOT / "tests").glob("test_*.py"))


def test_the_fast_target_leaves_out_every_peer_that_a_marker_names() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.search(r"^PEERS := (.*)$", makefile, re.MULTILINE)
    assert named is not None
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    needing = {each.split(":")[0] for each in markers["markers"] if ": needs " in each}
    assert set(named[1].split(" or ")) == needing
    assert re.search(r'^\t.*pytest .*-m "not slow and not \(\$\(PEERS\)\)"', makefile, re.MULTILINE)


def test_the_full_target_is_the_ordinary_one_with_more() -> None:
    assert recipe("test-full") == ["@$(MAKE) test FULL=--full"]
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^PYTEST = (?:.*\\\n)*.*/pytest \$\(FULL\) ", makefile, re.MULTILINE)
    assert all(line.startswith("$(PYTEST) ") for line in lines_with_tests())
