"""Examples for the description of the API, of no real instance."""

from typing import Final

from service.domain.audit import Action, AuditOutcome
from service.domain.delivery import DeliveryState
from service.domain.job import JobState, Source
from service.domain.user import Permission, Role, SignedInBy
from service.domain.verdict import Opinion
from service.web.schemas.details import (
    AttentionResponse,
    EvidenceResponse,
    JobPageResponse,
    OperatingPointResponse,
    PatientResponse,
    RegionResponse,
    WholeJobResponse,
)
from service.web.schemas.jobs import DeliveryResponse, EventResponse, JobResponse, OutputResponse
from service.web.schemas.service import (
    AuditPageResponse,
    AuditRecordResponse,
    DeliveryCountResponse,
    DueResponse,
    IdentityResponse,
    StatusResponse,
)
from service.web.schemas.uploads import UploadedResponse, UploadResponse
from service.web.schemas.verdicts import VerdictListResponse, VerdictResponse

JOB_ID: Final = "0123456789abcdef0123456789abcdef"
REPORT_UID: Final = "2.25.314159265358979"
_STUDY, _SERIES, _INSTANCE = "2.25.1001", "2.25.1002", "2.25.1003"
_REPORT_CLASS: Final = "1.2.840.10008.5.1.4.1.1.88.34"
_AT: Final = 1795910400.0
_MODEL: Final = "lobar_pneumonia 1.0.0"

JOB: Final = JobResponse(
    id=JOB_ID,
    sop_instance_uid=_INSTANCE,
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
    series_instance_uid=_SERIES,
    study_instance_uid=_STUDY,
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    digest="blake3:" + "9f" * 28,
    sha256=None,
    size_bytes=8_400_312,
    calling_ae_title="CR1",
    source=Source.DICOM,
    corrects=None,
    state=JobState.DELIVERED,
    reason=None,
    attempt=1,
    tries=1,
    holder=None,
    due_at=None,
    received_at=_AT,
    asked_at=_AT,
    reported_at=_AT + 0.8,
    finished_at=_AT + 1.1,
    purged_at=None,
    finding="present",
    probability=0.946,
    operating_point="balanced",
    model=_MODEL,
    other_abnormality=None,
    population="adults",
    refusal=None,
    is_urgent=False,
    repeats=0,
    last_repeated_at=None,
)
JOB_PAGE: Final = JobPageResponse(jobs=[JOB], next=None)
WHOLE_JOB: Final = WholeJobResponse(
    job=JOB,
    operating_point=OperatingPointResponse(
        name="balanced", threshold=0.5, indeterminate_low=0.4, indeterminate_high=0.6
    ),
    patient=PatientResponse(
        name="Example^Only",
        id="EXAMPLE-1",
        birth_date="19700101",
        sex="O",
        accession_number="A-1",
        study_date="20261129",
        modality="CR",
        view_position="PA",
    ),
    evidence=EvidenceResponse(
        region=RegionResponse(top=0.4, left=0.1, bottom=0.7, right=0.4),
        attention=AttentionResponse(rows=2, columns=2, values=[0.1, 0.2, 0.9, 0.1]),
        other_threshold=None,
        other_indeterminate_low=None,
        other_indeterminate_high=None,
        calibrated=True,
        weights_sha256="0a" * 32,
    ),
    outputs=[
        OutputResponse(kind="sr", sop_class_uid=_REPORT_CLASS, sop_instance_uid=REPORT_UID),
    ],
    revisions=[],
    deliveries=[
        DeliveryResponse(
            id=1,
            job_id=JOB_ID,
            kind="sr",
            sop_class_uid=_REPORT_CLASS,
            sop_instance_uid=REPORT_UID,
            destination="pacs",
            state=DeliveryState.DELIVERED,
            reason=None,
            attempt=1,
            refusals=0,
            holder=None,
            due_at=None,
            since=_AT + 0.8,
            status=0,
            finished_at=_AT + 1.1,
            sent=None,
            transaction_uid=None,
        )
    ],
    trace=[EventResponse(at=_AT, name="received", detail={"source": "dicom"})],
)
VERDICT: Final = VerdictResponse(
    id=7,
    at=_AT + 600,
    user="r.reader",
    opinion=Opinion.DISAGREE,
    right_finding="absent",
    comment="Atelectasis.",
    job_id=JOB_ID,
    report_uid=REPORT_UID,
    sop_instance_uid=_INSTANCE,
    finding="present",
    probability=0.946,
    operating_point="balanced",
    model=_MODEL,
    population="adults",
)
VERDICTS: Final = VerdictListResponse(verdicts=[VERDICT])
UPLOAD: Final = UploadResponse(
    instances=[
        UploadedResponse(
            name="chest.dcm", job_id=JOB_ID, repeated=False, corrects=None, problem=None
        )
    ]
)
STATUS: Final = StatusResponse(
    received=12,
    forgotten=2,
    in_flight=1,
    balance=0,
    jobs=dict.fromkeys(JobState, 0) | {JobState.RECEIVED: 1, JobState.DELIVERED: 9},
    parked={},
    due=DueResponse(
        infer=1,
        deliver={},
        commit={},
        answer=0,
        oldest_infer_at=_AT,
        oldest_deliver_at={},
        oldest_commit_at={},
        oldest_answer_at=None,
    ),
    deliveries=[DeliveryCountResponse(destination="pacs", state=DeliveryState.DELIVERED, count=9)],
)
IDENTITY: Final = IdentityResponse(
    name="r.reader",
    role=Role.RADIOLOGIST,
    permissions=[Permission.PATIENT, Permission.VERDICT, Permission.VIEW],
    signed_in_by=SignedInBy.TOKEN,
)
AUDIT: Final = AuditPageResponse(
    records=[
        AuditRecordResponse(
            id=41,
            at=_AT,
            action=Action.VIEW,
            outcome=AuditOutcome.SUCCESS,
            user="r.reader",
            role="radiologist",
            address="127.0.0.1",
            job_id=JOB_ID,
            study_instance_uid=_STUDY,
            sop_instance_uid=_INSTANCE,
            patient_id="EXAMPLE-1",
            detail={},
        )
    ],
    next=None,
)
