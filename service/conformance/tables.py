"""How a conformance statement is written: lines of Markdown, and what the workers put in."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydicom.uid import UID

Lines = Iterator[str]
Rows = Iterable[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What only the workers know of themselves."""

    answers: tuple[tuple[str, str], ...]  # DIMSE status and what follows it
    web_answers: tuple[tuple[str, str], ...]  # the same for what a DICOMweb service answers
    objects: tuple[str, ...]  # lines: the annex about the objects that are made


def heading(level: int, text: str) -> Lines:
    """Give a heading."""
    yield f"{'#' * level} {text}"
    yield ""


def paragraph(*sentences: str) -> Lines:
    """Give a paragraph."""
    yield " ".join(sentences)
    yield ""


def table(head: Sequence[str], rows: Rows) -> Lines:
    """Give a table; a bar within a cell would end it."""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
    yield ""


def named(uid: str) -> tuple[str, str]:
    """Give a UID's name in PS3.6, and the UID."""
    return UID(uid).name, f"`{uid}`"


def hexadecimal(status: int) -> str:
    """Give a DIMSE status as people write it."""
    return f"0x{status:04X}"
