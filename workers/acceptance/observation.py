"""What was observed of a PACS, one step at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """How a step ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One step, how it ended, and what an administrator needs to know of it.

    Attributes:
        step: What was tried, in words.
        result: How it ended.
        detail: What the PACS said or did, without patient data.
        milliseconds: How long each exchange of the step took.
    """

    step: str
    result: Result
    detail: str = ""
    milliseconds: tuple[float, ...] = ()


def is_accepted(observations: Sequence[Observation]) -> bool:
    """Return whether no step failed."""
    return all(each.result is not Result.FAILED for each in observations)
