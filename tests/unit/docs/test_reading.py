"""docs/reading.md names each reason for which a radiograph is refused before the network."""

import re
from pathlib import Path
from typing import Final

from service.domain.reasons import Reason

ROOT: Final = Path(__file__).resolve().parents[3]
PREPROCESSING: Final = ROOT / "monai_bundle" / "scripts" / "preprocessing"
CODES: Final = ROOT / "monai_bundle" / "scripts" / "refusal.py"


def documented() -> set[str]:
    page = (ROOT / "docs" / "reading.md").read_text()
    table = page.split("## What is refused", 1)[1]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)}


def raised() -> set[str]:
    """Return the codes of the refusals that the preprocessing's source names."""
    code_of = dict(re.findall(r'^    ([A-Z_]+) = "([a-z-]+)"', CODES.read_text(), re.MULTILINE))
    sources = "".join(path.read_text() for path in PREPROCESSING.glob("*.py"))
    return {code_of[name] for name in re.findall(r"RefusalCode\.([A-Z_]+)", sources)}


def test_each_refusal_of_the_reading_is_in_the_table() -> None:
    of_decoders = {reason for reason in Reason if reason.startswith("decoder-")}
    assert len(raised()) > 5
    assert len(of_decoders) == 3
    assert documented() >= raised() | of_decoders | {"modality-out-of-scope"}
    assert documented() <= set(Reason)
