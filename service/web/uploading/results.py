"""What came of an upload, for the person who sent it."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.job import Job, JobState
from service.domain.reasons import EXPLANATIONS, Reason
from service.web.problem import Problem
from service.web.uploading.refusals import ADVICE, Skipped, advice_for
from service.web.uploading.uploads import Uploaded

_KEPT_SECONDS: Final = 3600.0
_MOST_KEPT: Final = 20_000  # files of all uploads together
_TOKEN_BYTES: Final = 16
_UNDER_WAY: Final = frozenset({JobState.RECEIVED, JobState.REPORTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a person reads about one file or job."""

    tone: str  # good, wait, faint or alarm: what its mark looks like
    sentence: str
    advice: str = ""
    job: Job | None = None  # None of a refused file
    is_final: bool = True
    has_finding: bool = False
    retry_after: int | None = None  # seconds, where sending it again can succeed by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One file on the page of results."""

    name: str  # blank where the page has it already
    result: Result
    job_id: str | None = None  # None of a refused file
    repeated: bool = False


def result_of(job: Job) -> Result:
    """Return what a job has come to; a finding is shown as soon as there is one."""
    reason = job.reason or job.not_analysed_reason
    if job.state is JobState.RECEIVED:
        sentence = "Being read now." if job.holder else "Received, waiting to be read."
        return Result(tone="wait", sentence=sentence, job=job, is_final=False)
    if job.state is JobState.DISMISSED:
        return Result(tone="faint", sentence="Closed by a person, without a reading.", job=job)
    if not job.finding:
        parked = job.state is JobState.PARKED
        return Result(
            tone="alarm" if parked else "faint",
            sentence=f"Not read. {_explanation(reason)}",
            advice=ADVICE[reason] if reason else "",
            job=job,
            is_final=job.state not in _UNDER_WAY,
        )
    return _read(job, reason)


def result_of_problem(problem: Problem) -> Result:
    """Return why a file was refused, and what to do next."""
    skipped = isinstance(problem, Skipped)
    return Result(
        tone="faint" if skipped else "alarm",
        sentence=problem.detail,
        advice=advice_for(problem),
        retry_after=problem.retry_after,
    )


UNKNOWN_JOB: Final = Result(
    tone="faint",
    sentence="There is no such job any more.",
    advice="Send the file again if its finding is still needed.",
)


def _read(job: Job, reason: Reason | None) -> Result:
    if job.state is JobState.REPORTED:
        sentence = "Read. The report is on its way to every destination."
        return Result(tone="good", sentence=sentence, job=job, is_final=False, has_finding=True)
    if job.state is JobState.DELIVERED:
        sentence = "Read. Every destination has the report."
    elif reason is Reason.NO_DESTINATION:
        sentence = "Read. No PACS is configured to send the report to, so it stays here."
    else:
        sentence = f"Read, but the report was not delivered. {_explanation(reason)}"
        return Result(
            tone="alarm",
            sentence=sentence,
            advice=ADVICE[reason] if reason else "",
            job=job,
            has_finding=True,
        )
    return Result(tone="good", sentence=sentence, job=job, has_finding=True)


def _explanation(reason: Reason | None) -> str:
    return EXPLANATIONS[reason] if reason else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    owner: str
    outcomes: Sequence[Uploaded]
    at: float


class RecentUploads:
    """The outcomes of recent uploads, in memory.

    The page that a form without a script leads to names each file. Names are not stored, because
    they may name a patient, so they are gone when the process ends.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def keep(self, owner: str, outcomes: Sequence[Uploaded]) -> str:
        """Keep the outcomes of an upload for a while, and return the token that finds them."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        with self._lock:
            self._kept[token] = _Kept(owner=owner, outcomes=outcomes, at=self._clock())
            self._forget()
        return token

    def find(self, owner: str, token: str) -> Sequence[Uploaded] | None:
        """Return the outcomes of an upload of this user; None if they are not kept any more."""
        with self._lock:
            self._forget()
            kept = self._kept.get(token)
        return kept.outcomes if kept is not None and kept.owner == owner else None

    def _forget(self) -> None:
        files = sum(len(each.outcomes) for each in self._kept.values())
        before = self._clock() - _KEPT_SECONDS
        for token, each in list(self._kept.items()):
            if each.at > before and (files <= _MOST_KEPT or len(self._kept) == 1):
                return
            files -= len(each.outcomes)
            del self._kept[token]
