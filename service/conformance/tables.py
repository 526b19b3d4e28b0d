"""The parts of a conformance statement: lines of Markdown, and the facts from the workers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydicom.uid import UID

Lines = Iterator[str]
Rows = Iterable[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """What the statement says about the workers, which the service does not import."""

    responses: tuple[tuple[str, str], ...]  # DIMSE status and the reaction to it
    web_responses: tuple[tuple[str, str], ...]  # HTTP status and the reaction to it
    objects: tuple[str, ...]  # lines of the annex about the outputs


def heading(level: int, text: str) -> Lines:
    """Write a heading."""
    yield f"{'#' * level} {text}"
    yield ""


def paragraph(*sentences: str) -> Lines:
    """Write a paragraph."""
    yield " ".join(sentences)
    yield ""


def table(head: Sequence[str], rows: Rows) -> Lines:
    """Write a table; a bar within a cell is replaced, because it would end the cell."""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
    yield ""


def name_and_uid(uid: str) -> tuple[str, str]:
    """Return a UID's name in PS3.6, and the UID."""
    return UID(uid).name, f"`{uid}`"


def hexadecimal(status: int) -> str:
    """Format a DIMSE status as the standard does."""
    return f"0x{status:04X}"
