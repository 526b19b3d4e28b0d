"""An output and its delivery to one destination."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.domain.reasons import Reason


class DeliveryState(StrEnum):
    """The state of one output's delivery to one destination."""

    PENDING = "pending"
    STORED = "stored"
    DELIVERED = "delivered"
    PARKED = "parked"


IN_FLIGHT: Final = frozenset({DeliveryState.PENDING, DeliveryState.STORED})
"""The states of a delivery that is not finished: to be sent, or stored and not committed yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecord:
    """An object made for a job and kept in the outbox."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to an instance from another object or message (PS3.3 table 10-11)."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The delivery of one output to one destination; times are seconds since the epoch."""

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
    sent: Reference | None  # the instance stored: the output, or the fallback SR for it
    transaction_uid: str | None  # of the latest commitment request (PS3.4 annex J)
