"""The page about foreign bundles agrees with the service and the shipped bundle."""

import re
from pathlib import Path
from typing import Final

from service.domain.reasons import Reason
from workers.inference.bundle import SECTIONS

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = (ROOT / "docs" / "bundles.md").read_text()


def section(heading: str) -> str:
    return PAGE.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]


def test_the_codes_that_a_bundle_may_refuse_with_are_those_that_the_shipped_one_has() -> None:
    rows = re.findall(r"^\| (?!Of).*? \| (`.*`) \|$", PAGE.split("**Refusals.**")[1], re.MULTILINE)
    listed = re.findall(r"`([\w-]+)`", " ".join(rows))
    script = (ROOT / "monai_bundle" / "scripts" / "refusal.py").read_text()
    assert listed == re.findall(r'^    [A-Z_]+ = "([\w-]+)"$', script, re.MULTILINE)
    assert set(listed) <= set(Reason)


def test_each_section_that_a_configuration_must_make_is_listed() -> None:
    keys = re.findall(r"^\| `(\w+)` \|", section("### `configs/inference.yaml`"), re.MULTILINE)
    assert tuple(keys) == SECTIONS
