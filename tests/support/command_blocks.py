"""The blocks of commands on the pages, and who runs each (docs/developing.md)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "monai_bundle/docs/README.md"]
)
SHELLS: Final = frozenset({"sh", "bash", "console"})
_MARK: Final = re.compile(r"<!-- (run|run by|not run): (.+) -->")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandBlock:
    """A block of commands on a page, and the comment above it."""

    page: Path
    line: int
    text: str
    kind: str
    """run, run by, not run, or nothing where the comment is missing."""
    words: str
    """Where it is run, the test that runs it, or why nothing does."""

    @property
    def place(self) -> str:
        """The page and the line, for people."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def code_blocks(page: Path) -> list[Token]:
    """Return every block of code of a page."""
    return _blocks_in(page.read_text())


def command_blocks(page: Path) -> Iterator[CommandBlock]:
    """Yield the blocks of commands of a page, in order."""
    lines = page.read_text().splitlines()
    for block in code_blocks(page):
        if block.info.strip() in SHELLS and block.map:
            first = block.map[0]
            said = _MARK.fullmatch(lines[first - 1].strip())
            yield CommandBlock(
                page=page,
                line=first + 1,
                text=block.content if block.info != "console" else _typed(block.content),
                kind=said[1] if said else "",
                words=said[2] if said else "",
            )


def run_here(words: str) -> list[CommandBlock]:
    """Return the blocks of all pages that are run in one kind of place."""
    return [
        block
        for page in PAGES
        for block in command_blocks(page)
        if (block.kind, block.words) == ("run", words)
    ]


def commands(text: str) -> list[str]:
    """Return the commands of a block, one a line, without comments."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = (re.sub(r"(^|\s+)# .*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


@cache
def _blocks_in(markdown: str) -> list[Token]:
    tokens = MarkdownIt().parse(markdown)
    return [each for each in tokens if each.type in {"fence", "code_block"}]


def _typed(text: str) -> str:
    """Return what a person types in a dialogue: the lines after a prompt."""
    return "".join(f"{line[2:]}\n" for line in text.splitlines() if line.startswith("$ "))
