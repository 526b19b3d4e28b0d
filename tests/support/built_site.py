"""The pages as a site, built into a folder of the test, and what is in it."""

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CONFIGURATION: Final = ROOT / "deploy" / "site" / "mkdocs.yml"


@dataclass
class Page(HTMLParser):
    """What a page of the site consists of, and where it leads."""

    path: Path
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    elements: Counter[str] = field(default_factory=Counter)
    """The elements of the article by name."""
    text: str = ""
    _in_article: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a tag apart: an identifier, a link, a picture or script, an element."""
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "article":
            self._in_article = True
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") != "canonical":
            self.loaded.append(values.get("href", ""))
        elif "src" in values:
            self.loaded.append(values["src"])
        if self._in_article:
            self.elements[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        """Note the end of the article."""
        if tag == "article":
            self._in_article = False

    def handle_data(self, data: str) -> None:
        """Keep the words of the article."""
        if self._in_article:
            self.text += data


def build_site(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site into a folder as `make site` does, a warning being an error."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "mkdocs", "build", "--strict"),
            *("--config-file", CONFIGURATION, "--site-dir", folder),
        ],
        env={"NO_MKDOCS_2_WARNING": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
