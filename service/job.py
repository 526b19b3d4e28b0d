"""A job: one received instance on its way, the facts that became true of it, and what may follow.

Pure: values and rules only. `service.ledger` keeps them.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.reasons import Reason


class JobState(StrEnum):
    """A fact that became true; work in progress is a lease, never a state."""

    RECEIVED = "received"
    REPORTED = "reported"
    DELIVERED = "delivered"
    NOT_ANALYSED = "not_analysed"
    PARKED = "parked"


class DeliveryState(StrEnum):
    """What is true of one output's way to one destination."""

    PENDING = "pending"
    DELIVERED = "delivered"
    PARKED = "parked"


FOLLOWERS: Final[dict[JobState, frozenset[JobState]]] = {
    JobState.RECEIVED: frozenset({JobState.REPORTED, JobState.NOT_ANALYSED, JobState.PARKED}),
    JobState.REPORTED: frozenset({JobState.DELIVERED, JobState.PARKED}),
    JobState.PARKED: frozenset({JobState.RECEIVED, JobState.REPORTED}),
    JobState.DELIVERED: frozenset(),
    JobState.NOT_ANALYSED: frozenset(),
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
    reported_at: float | None
    finished_at: float | None
    purged_at: float | None  # when retention took the bytes
    finding: str | None
    probability: float | None
    operating_point: str | None
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecord:
    """An object made for a job, lying in the outbox."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the ledger keeps of a prediction."""

    finding: str
    probability: float
    operating_point: str
    model: str  # name and version


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One output on its way to one destination; times are seconds since the epoch."""

    id: int
    job_id: str
    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    destination: str
    state: DeliveryState
    reason: Reason | None
    attempt: int
    refusals: int
    holder: str | None
    due_at: float | None
    since: float  # when it was first due, or requeued: giving up counts from here
    status: int | None  # the last DIMSE status (PS3.7 annex C)
    finished_at: float | None


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


def backoff_seconds(tries: int, *, first: float, longest: float, jitter: float = 0.25) -> float:
    """How long to wait after the n-th failure (n >= 1): doubling, bounded, spread by jitter."""
    doubled = first * 2.0 ** min(max(tries, 1) - 1, 62)
    return min(doubled, longest) * (1 + random.uniform(-jitter, jitter))
