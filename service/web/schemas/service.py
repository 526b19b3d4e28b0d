"""The service as a whole as the API shows it: its status, who asks, the audit trail."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.domain.delivery import DeliveryState
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.domain.user import Identity, Permission, Role, SignedInBy
from service.storage.ledger import Due, JobCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class DueResponse:
    """The work that is due now, and since when the oldest waits."""

    infer: int
    deliver: dict[str, int]  # by destination
    commit: dict[str, int]
    answer: int
    oldest_infer_at: float | None
    oldest_deliver_at: dict[str, float]
    oldest_commit_at: dict[str, float]
    oldest_answer_at: float | None

    @classmethod
    def of(cls, due: Due) -> Self:
        """Build the response for the due work."""
        return cls(**asdict(due))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryCountResponse:
    """How many deliveries to a destination are in a state."""

    destination: str
    state: DeliveryState
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusResponse:
    """The numbers of jobs and deliveries, and the work that is due."""

    received: int
    forgotten: int
    in_flight: int
    balance: int  # always 0
    jobs: dict[JobState, int]
    parked: dict[Reason, int]
    due: DueResponse
    deliveries: list[DeliveryCountResponse]

    @classmethod
    def of(
        cls, counts: JobCounts, due: Due, deliveries: dict[tuple[str, DeliveryState], int]
    ) -> Self:
        """Build the response from the ledger's numbers."""
        return cls(
            received=counts.received,
            forgotten=counts.forgotten,
            in_flight=counts.in_flight,
            balance=counts.balance,
            jobs=counts.by_state,
            parked=counts.parked_by_reason,
            due=DueResponse.of(due),
            deliveries=[
                DeliveryCountResponse(destination=name, state=state, count=count)
                for (name, state), count in sorted(deliveries.items())
            ],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityResponse:
    """Who sends the request, and what that person or program may do."""

    name: str  # blank while there is no user
    role: Role | None
    permissions: list[Permission]
    signed_in_by: SignedInBy

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """Build the response for an identity."""
        return cls(
            name=identity.name,
            role=identity.role,
            permissions=sorted(identity.permissions),
            signed_in_by=identity.signed_in_by,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecordResponse:
    """One entry of the audit trail."""

    id: int | None
    at: float
    action: Action
    outcome: AuditOutcome
    user: str
    role: str
    address: str
    job_id: str | None
    study_instance_uid: str | None
    sop_instance_uid: str | None
    patient_id: str | None
    detail: dict[str, str | int | float | bool | None]

    @classmethod
    def of(cls, record: AuditRecord) -> Self:
        """Build the response for a record."""
        values: dict[str, Any] = asdict(record)
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPageResponse:
    """One page of the audit trail, the newest first."""

    records: list[AuditRecordResponse]
    next: str | None  # the address of the next older entries; None when there are no more
