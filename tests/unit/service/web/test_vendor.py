"""The scripts of others are the published ones, byte by byte."""

import hashlib
import re
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).resolve().parents[4] / "service" / "web" / "static"
VENDOR: Final = STATIC / "vendor"
ROW: Final = re.compile(
    r"^\| (?P<file>\S+) \| (?P<package>.+?) \| (?P<licence>.+?) \| (?P<sha256>[0-9a-f]{64}) \|$",
    re.MULTILINE,
)


def test_every_script_of_others_has_its_digest_and_licence_in_the_table() -> None:
    rows = {row["file"]: row for row in ROW.finditer((VENDOR / "README.md").read_text())}
    files = {path.name: path for path in VENDOR.iterdir() if path.name != "README.md"}
    assert rows.keys() == files.keys()
    assert len(rows) >= 2
    for name, path in files.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == rows[name]["sha256"], name
        assert rows[name]["licence"] in {"0BSD", "MIT", "BSD-3-Clause", "Apache-2.0", "ISC"}


def test_no_script_or_style_sheet_of_ours_names_another_host() -> None:
    own = [path for path in STATIC.iterdir() if path.suffix in {".css", ".js"}]
    assert len(own) >= 3
    for path in own:
        assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", path.read_text()), path.name
        assert "eval(" not in path.read_text()
