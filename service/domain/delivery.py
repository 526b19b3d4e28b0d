"""An output and its delivery to one destination."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.domain.reasons import Reason


class DeliveryState(StrEnum):
    """What is true of one output's way to one destination."""

    PENDING = "pending"
    STORED = "stored"
    DELIVERED = "delivered"
    PARKED = "parked"


ON_ITS_WAY: Final = frozenset({DeliveryState.PENDING, DeliveryState.STORED})
"""What a delivery is as long as its job is owed an outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecord:
    """An object made for a job, lying in the outbox."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Reference:
    """One instance named by another object or message (PS3.3 table 10-11)."""

    sop_class_uid: str
    sop_instance_uid: str


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
    since: float  # when it was first due, stored or requeued: giving up counts from here
    status: int | None  # the last DIMSE status (PS3.7 annex C)
    finished_at: float | None
    sent: Reference | None  # what the destination took: a twin has names of its own
    transaction_uid: str | None  # by which its commitment was last asked for (PS3.4 annex J)
