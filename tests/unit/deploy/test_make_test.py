"""`make test` runs every folder of tests; the other targets are the same with less or more."""

import re
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]


def test_no_folder_of_tests_is_left_out() -> None:
    recipe = re.search(r"^test: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    run = set(re.findall(r"\btests/\w+", recipe[1]))
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
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^test-full: .*\n\t(.*)\n", makefile, re.MULTILINE)
    assert recipe is not None
    assert recipe[1] == "@$(MAKE) test FULL=--full"
    assert re.search(r"^PYTEST = .*/pytest \$\(FULL\) ", makefile, re.MULTILINE)
    ordinary = re.search(r"^test: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert ordinary is not None
    running = [line for line in ordinary[1].splitlines() if "tests/" in line]
    assert running
    assert all(line.startswith("\t$(PYTEST) ") for line in running)
