"""What `/api/v1` adds to a job: who the patient is, and how the finding was reached."""

from dataclasses import asdict, dataclass
from typing import Self

from service.domain.evidence import Evidence
from service.domain.job import Job
from service.domain.patient import Patient
from service.web.schemas.jobs import (
    DeliveryResponse,
    EventResponse,
    JobResponse,
    OutputResponse,
    RevisionResponse,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientResponse:
    """The patient and the study, as the instance's header names them; blank where it does not."""

    name: str  # as in the header, with ^ between its components and = between its groups
    id: str
    birth_date: str  # YYYYMMDD, as the other date
    sex: str
    accession_number: str
    study_date: str
    modality: str
    view_position: str

    @classmethod
    def of(cls, patient: Patient) -> Self:
        """Build the response for a patient."""
        return cls(
            name=patient.patient_name,
            id=patient.patient_id,
            birth_date=patient.birth_date,
            sex=patient.sex,
            accession_number=patient.accession_number,
            study_date=patient.study_date,
            modality=patient.modality,
            view_position=patient.view_position,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPointResponse:
    """The operating point of a finding, and the band around it in which the model abstains."""

    name: str
    threshold: float
    indeterminate_low: float | None
    indeterminate_high: float | None

    @classmethod
    def of(cls, job: Job) -> Self | None:
        """Build the response for the operating point of a job; None where none was recorded."""
        if job.operating_point is None or job.threshold is None:
            return None
        return cls(
            name=job.operating_point,
            threshold=job.threshold,
            indeterminate_low=job.indeterminate_low,
            indeterminate_high=job.indeterminate_high,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionResponse:
    """A rectangle of the radiograph, as fractions of its rows and columns."""

    top: float
    left: float
    bottom: float
    right: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionResponse:
    """The evidence for pneumonia place by place, over the whole radiograph."""

    rows: int
    columns: int
    values: list[float]  # row by row from the top left, from 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceResponse:
    """What the model saw; `service.domain.evidence.Evidence` documents each field."""

    region: RegionResponse | None
    attention: AttentionResponse | None
    other_threshold: float | None
    other_indeterminate_low: float | None
    other_indeterminate_high: float | None
    calibrated: bool | None
    weights_sha256: str | None

    @classmethod
    def of(cls, evidence: Evidence) -> Self:
        """Build the response for the evidence of a job."""
        region, attention = evidence.region, evidence.attention
        return cls(
            region=RegionResponse(**asdict(region)) if region else None,
            attention=(
                AttentionResponse(
                    rows=attention.rows, columns=attention.columns, values=list(attention.values)
                )
                if attention
                else None
            ),
            other_threshold=evidence.other_threshold,
            other_indeterminate_low=evidence.other_indeterminate_low,
            other_indeterminate_high=evidence.other_indeterminate_high,
            calibrated=evidence.calibrated,
            weights_sha256=evidence.weights_sha256,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPageResponse:
    """One page of jobs, the newest first."""

    jobs: list[JobResponse]
    next: str | None  # the address of the next older jobs; None when there are no more


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeJobResponse:
    """One job with everything that the ledger holds about it."""

    job: JobResponse
    operating_point: OperatingPointResponse | None
    patient: PatientResponse | None  # None too without the permission `patient`
    evidence: EvidenceResponse | None  # the same
    outputs: list[OutputResponse]
    revisions: list[RevisionResponse]
    deliveries: list[DeliveryResponse]
    trace: list[EventResponse]
