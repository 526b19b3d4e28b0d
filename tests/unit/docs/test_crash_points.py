"""docs/developing.md lists every crash point, in the order of an instance's path."""

import re
from pathlib import Path
from typing import Final

from service.crash_points import CrashPoint

ROOT: Final = Path(__file__).resolve().parents[3]


def test_the_page_lists_the_crash_points() -> None:
    page = (ROOT / "docs" / "developing.md").read_text()
    table = page.split("### Crash points", 1)[1].split("\n### ", 1)[0]
    assert re.findall(r"^\| `([a-z.]+)` \| .+ \|$", table, re.MULTILINE) == list(CrashPoint)


def test_each_crash_point_is_passed_in_one_place() -> None:
    folders = (ROOT / "service", ROOT / "workers")
    sources = [path.read_text() for folder in folders for path in folder.rglob("*.py")]
    for point in CrashPoint:
        call = f"passed(CrashPoint.{point.name})"
        assert sum(source.count(call) for source in sources) == 1, point
