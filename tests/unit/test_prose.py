"""Habits of the prose in docstrings, comments and pages."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENTED: Final = ("service", "workers", "monai_bundle")

# each has a plain word: "the recipient" for "whoever", "Lobar's" for "of ours" ...
BANNED_PHRASES: Final = (
    r"what (?:becomes|became|has become) of",
    r"whoever",
    r"of ours",
    r"befalls?|befell",
    r"crosswise",
    r"by heart",
    r"to regret",
    r"(?:model|destination|configuration)s? of today",
)
PATTERN: Final = re.compile(rf"\b(?:{'|'.join(BANNED_PHRASES)})\b", re.IGNORECASE)


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def docstrings(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring


def comments(source: Path) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def test_docstrings_begin_with_what_the_function_does() -> None:
    every = [text for path in sources(*DOCUMENTED) for text in docstrings(path)]
    vague = [text for text in every if re.match(r"(?:Give|Tell)s?\b", text)]
    assert len(every) > 500
    assert len(vague) <= 0.02 * len(every), vague


def test_docstrings_comments_and_pages_use_no_banned_phrase() -> None:
    texts = [
        (path, text)
        for path in sources("service", "workers")
        for text in (*docstrings(path), *comments(path))
    ]
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts += [(page, page.read_text()) for page in pages]
    found = [
        f"{path.relative_to(ROOT)}: {phrase[0]}"
        for path, text in texts
        for phrase in PATTERN.finditer(" ".join(text.split()))
    ]
    assert found == []
