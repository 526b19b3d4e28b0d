"""Jobs as the API and `lobar trace --json` show them."""

from dataclasses import dataclass
from typing import Self

from service.dicom.data_set_digest import is_sha256
from service.domain.delivery import Delivery, DeliveryState, OutputRecord, Reference
from service.domain.job import Event, Job, JobState, OtherAbnormality, Revision, Source
from service.domain.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherAbnormalityResponse:
    """The reading of an abnormality other than pneumonia."""

    finding: str
    probability: float
    operating_point: str

    @classmethod
    def of(cls, other: OtherAbnormality) -> Self:
        """Build the response for the other abnormality of a job."""
        return cls(
            finding=other.finding,
            probability=other.probability,
            operating_point=other.operating_point,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResponse:
    """A job; `service.domain.job.Job` documents each field."""

    id: str
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    digest: str
    sha256: str | None  # deprecated: null where the digest is of another kind
    size_bytes: int
    calling_ae_title: str
    source: Source
    corrects: str | None
    state: JobState
    reason: Reason | None
    attempt: int
    tries: int
    holder: str | None
    due_at: float | None
    received_at: float
    asked_at: float
    reported_at: float | None
    finished_at: float | None
    purged_at: float | None
    finding: str | None
    probability: float | None
    operating_point: str | None
    model: str | None
    other_abnormality: OtherAbnormalityResponse | None
    population: str | None
    refusal: Reason | None  # why the model did not analyse it
    is_urgent: bool  # of a sender that comes first
    repeats: int  # how often the same bytes were received again
    last_repeated_at: float | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Build the response for a job."""
        return cls(
            id=job.id,
            sop_instance_uid=job.sop_instance_uid,
            sop_class_uid=job.sop_class_uid,
            series_instance_uid=job.series_instance_uid,
            study_instance_uid=job.study_instance_uid,
            transfer_syntax_uid=job.transfer_syntax_uid,
            digest=job.digest,
            sha256=job.digest if is_sha256(job.digest) else None,
            size_bytes=job.size_bytes,
            calling_ae_title=job.calling_ae_title,
            source=job.source,
            corrects=job.corrects,
            state=job.state,
            reason=job.reason,
            attempt=job.attempt,
            tries=job.tries,
            holder=job.holder,
            due_at=job.due_at,
            received_at=job.received_at,
            asked_at=job.asked_at,
            reported_at=job.reported_at,
            finished_at=job.finished_at,
            purged_at=job.purged_at,
            finding=job.finding,
            probability=job.probability,
            operating_point=job.operating_point,
            model=job.model,
            other_abnormality=OtherAbnormalityResponse.of(job.other) if job.other else None,
            population=job.population,
            refusal=job.not_analysed_reason,
            is_urgent=job.is_urgent,
            repeats=job.repeats,
            last_repeated_at=job.last_repeated_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputResponse:
    """An output of a job."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str

    @classmethod
    def of(cls, output: OutputRecord) -> Self:
        """Build the response for an output."""
        return cls(
            kind=output.kind,
            sop_class_uid=output.sop_class_uid,
            sop_instance_uid=output.sop_instance_uid,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionResponse:
    """One of the reports about an instance."""

    id: int | None
    job_id: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    follows: int | None  # the revision that it replaces
    dated_at: float

    @classmethod
    def of(cls, revision: Revision) -> Self:
        """Build the response for a revision."""
        return cls(
            id=revision.id,
            job_id=revision.job_id,
            sop_class_uid=revision.sop_class_uid,
            sop_instance_uid=revision.sop_instance_uid,
            series_instance_uid=revision.series_instance_uid,
            follows=revision.predecessor,
            dated_at=revision.dated_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceResponse:
    """An instance named by its class and UID."""

    sop_class_uid: str
    sop_instance_uid: str

    @classmethod
    def of(cls, reference: Reference) -> Self:
        """Build the response for a reference."""
        return cls(
            sop_class_uid=reference.sop_class_uid, sop_instance_uid=reference.sop_instance_uid
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResponse:
    """The delivery of one output to one destination."""

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
    since: float
    status: int | None
    finished_at: float | None
    sent: ReferenceResponse | None
    transaction_uid: str | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Build the response for a delivery."""
        return cls(
            id=delivery.id,
            job_id=delivery.job_id,
            kind=delivery.kind,
            sop_class_uid=delivery.sop_class_uid,
            sop_instance_uid=delivery.sop_instance_uid,
            destination=delivery.destination,
            state=delivery.state,
            reason=delivery.reason,
            attempt=delivery.attempt,
            refusals=delivery.refusals,
            holder=delivery.holder,
            due_at=delivery.due_at,
            since=delivery.since,
            status=delivery.status,
            finished_at=delivery.finished_at,
            sent=ReferenceResponse.of(delivery.sent) if delivery.sent else None,
            transaction_uid=delivery.transaction_uid,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventResponse:
    """One line of a job's trace."""

    at: float
    name: str
    detail: dict[str, str | int | float | bool | None]

    @classmethod
    def of(cls, event: Event, *, with_sentence: bool = True) -> Self:
        """Build the response for an event.

        Args:
            event: the event.
            with_sentence: whether to give what a person wrote, which may name a patient.
        """
        is_sentence = event.name == JobState.DISMISSED and not with_sentence
        kept = {k: v for k, v in event.detail.items() if not (is_sentence and k == "why")}
        return cls(at=event.at, name=event.name, detail=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobListResponse:
    """Jobs, the newest first."""

    jobs: list[JobResponse]
    next: str | None  # the address of the next older jobs; None when there are no more


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetailResponse:
    """One job with everything that the ledger holds about it."""

    job: JobResponse
    outputs: list[OutputResponse]
    revisions: list[RevisionResponse]
    deliveries: list[DeliveryResponse]
    trace: list[EventResponse]
