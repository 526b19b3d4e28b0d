"""A job: one received instance on its way, the facts that became true of it, and what may follow.

Pure: values and rules only. `service.storage.ledger` keeps them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.domain.reasons import Reason
from service.domain.routing import Outcome


class JobState(StrEnum):
    """A fact that became true; work in progress is a lease, never a state."""

    RECEIVED = "received"
    REPORTED = "reported"
    DELIVERED = "delivered"
    NOT_ANALYSED = "not_analysed"
    PARKED = "parked"


FOLLOWERS: Final[dict[JobState, frozenset[JobState]]] = {
    JobState.RECEIVED: frozenset({JobState.REPORTED, JobState.NOT_ANALYSED, JobState.PARKED}),
    JobState.REPORTED: frozenset({JobState.DELIVERED, JobState.NOT_ANALYSED, JobState.PARKED}),
    JobState.PARKED: frozenset({JobState.RECEIVED, JobState.REPORTED}),
    # only when a person asks for another analysis
    JobState.DELIVERED: frozenset({JobState.RECEIVED}),
    JobState.NOT_ANALYSED: frozenset({JobState.RECEIVED}),
}

FINISHED: Final = frozenset({JobState.DELIVERED, JobState.NOT_ANALYSED})


class Source(StrEnum):
    """The door an instance came in by."""

    DICOM = "dicom"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An accepted instance: what the ledger must know to promise it an outcome."""

    job_id: str  # 32 lower-case hexadecimal digits, ours
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    sha256: str  # of the data set's bytes as received, without preamble and file meta
    size_bytes: int
    calling_ae_title: str
    source: Source = Source.DICOM


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the ledger answers when an instance is received."""

    job_id: str  # of the job that stands for the instance, old or new
    repeated: bool = False  # the same bytes were received before: nothing new to do
    lacks_bytes: bool = False  # but the job is parked because those bytes were lost meanwhile
    corrects: str | None = None  # the first job of the same UID when the bytes differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the ledger as its reader sees it; times are seconds since the epoch."""

    id: str
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    sha256: str
    size_bytes: int
    calling_ae_title: str
    source: Source
    corrects: str | None
    state: JobState
    reason: Reason | None
    attempt: int  # counts every lease ever taken and never falls: the fence
    tries: int  # leases since received or requeued: what limits are held against
    holder: str | None
    due_at: float | None  # None when nothing is to be done
    received_at: float
    asked_at: float  # when its analysis was asked for: at receipt, or by a person since
    reported_at: float | None
    finished_at: float | None
    purged_at: float | None  # when retention took the bytes
    finding: str | None
    probability: float | None
    operating_point: str | None
    model: str | None
    not_analysed_reason: Reason | None  # why the model did not read it, where a report says so

    @property
    def outcome(self) -> Outcome | None:
        """How the instance reads; None while nothing was reported of it."""
        if self.not_analysed_reason is not None:
            return Outcome.NOT_ANALYSED
        return Outcome(self.finding) if self.finding else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConclusionRecord:
    """What the ledger keeps of what was concluded: a finding, or why there is none."""

    finding: str | None = None
    probability: float | None = None
    not_analysed_reason: Reason | None = None
    operating_point: str
    model: str  # name and version

    @property
    def outcome(self) -> Outcome:
        """How the instance reads."""
        return Outcome(self.finding) if self.finding else Outcome.NOT_ANALYSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One of the reports about an instance, each of which replaces its predecessor."""

    id: int | None = None  # the ledger's number; None for one that it does not hold yet
    job_id: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    predecessor: int | None  # the revision that it replaces
    dated_at: float  # what its objects are dated by, seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a job's trace: appended, never changed."""

    at: float
    name: str
    detail: dict[str, str | int | float | bool | None]


class TransitionError(Exception):
    """A state was asked for that may not follow the present one."""


def require_may_follow(present: JobState, following: JobState) -> None:
    """Hold the rule of `FOLLOWERS`.

    Raises:
        TransitionError: the following state may not follow the present one.
    """
    if following not in FOLLOWERS[present]:
        raise TransitionError(f"{following} may not follow {present}")
