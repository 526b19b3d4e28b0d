"""The scripts and the style sheet are all our own, and ask no other host."""

import re
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).resolve().parents[4] / "service" / "web" / "static"


def test_no_script_or_style_sheet_of_ours_names_another_host() -> None:
    assert all(path.is_file() for path in STATIC.iterdir())
    own = [path for path in STATIC.iterdir() if path.suffix in {".css", ".js"}]
    assert len(own) >= 3
    for path in own:
        assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", path.read_text()), path.name
        assert "eval(" not in path.read_text()
