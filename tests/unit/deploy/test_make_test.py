"""`make test` runs every folder of tests: two at once what only computes, the rest one by one."""

import re
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
