"""Record how long each step with a job took, as spans of the trace that has the job's id.

Nothing is recorded unless `exporting_spans` has given this process a sink; a step then costs what
two looks at the clock do. All spans are made when their step has ended, and none depends on another
process: the trace and the root span have ids that follow from the job's.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from service.telemetry.structured_log import type_name


class Step(StrEnum):
    """The steps, each the name of its spans. All but the first are within the first."""

    RECEIVE = "receive"
    KEEP = "keep"
    DECODE = "decode"
    PREDICT = "predict"
    REPORT = "report"
    DELIVER = "deliver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One step with one job that has ended.

    Attributes:
        job_id: The job's id, which is the trace's.
        step: What was done.
        ended_at: When it ended, nanoseconds since the epoch.
        seconds: How long it took.
        is_root: Whether the spans of all other steps are children of this one.
        error: Why it failed, as a type of exception or a status; None if it did not.
        fields: More about it, by names of the log's allow list.
    """

    job_id: str
    step: Step
    ended_at: int
    seconds: float
    is_root: bool
    error: str | None
    fields: dict[str, object]


Sink = Callable[[Span], None]
_sinks: Final[list[Sink]] = []  # at most one; none while nothing is exported


def use_sink(sink: Sink | None) -> None:
    """Have spans of this process put into a sink, which must return at once; None: into none."""
    _sinks[:] = [] if sink is None else [sink]


def record_span(
    job_id: str,
    step: Step,
    seconds: float,
    *,
    is_root: bool = False,
    **fields: object,
) -> None:
    """Record a step that has just ended."""
    if _sinks:
        _put((job_id,), step, seconds, is_root=is_root, fields=fields)


class Timed:
    """Times a step with one or several jobs, and records a span of each when the block ends."""

    __slots__ = ("_began", "_error", "_fields", "_is_refused", "_job_ids", "_step", "seconds")

    def __init__(self, job_ids: Sequence[str], step: Step, **fields: object) -> None:
        self._job_ids = job_ids
        self._step = step
        self._fields = fields
        self._error: str | None = None
        self._is_refused = False
        self.seconds = 0.0  # how long the block took, once it has ended

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = time.monotonic() - self._began
        if not _sinks:
            return
        failed = self._error
        if error is not None and not self._is_refused:
            failed = type_name(error)
        _put(self._job_ids, self._step, self.seconds, error=failed, fields=self._fields)

    def add(self, **fields: object) -> None:
        """Add what is known only now."""
        self._fields.update(fields)

    def refuse(self, reason: str) -> None:
        """Name the reason for which a job is refused, so that what is raised is no failure."""
        self._fields["reason"] = reason
        self._is_refused = True

    def fail(self, error: str) -> None:
        """Mark the step as failed, although nothing is raised."""
        self._error = error


def _put(
    job_ids: Sequence[str],
    step: Step,
    seconds: float,
    *,
    fields: dict[str, object],
    error: str | None = None,
    is_root: bool = False,
) -> None:
    """Put a span of each job into the sink."""
    ended_at = time.time_ns()
    for sink in _sinks:
        for job_id in job_ids:
            sink(
                Span(
                    job_id=job_id,
                    step=step,
                    ended_at=ended_at,
                    seconds=seconds,
                    is_root=is_root,
                    error=error,
                    fields=fields,
                )
            )
