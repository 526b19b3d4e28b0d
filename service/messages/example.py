"""Reports of an invented patient, by which templates are tried before they are used."""

from datetime import UTC, datetime
from typing import Final

from service.domain.reasons import Reason
from service.domain.routing import Outcome
from service.messages.facts import (
    FindingFacts,
    InstanceFacts,
    ModelFacts,
    PatientFacts,
    PersonName,
    ReportFacts,
    StudyFacts,
    Threshold,
)

_POINT: Final = Threshold(
    name="balanced", threshold=0.5, indeterminate_low=0.4, indeterminate_high=0.6
)
ANALYSED: Final = ReportFacts(
    job_id="0" * 32,
    sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
    sop_instance_uid="2.25.1",
    series_instance_uid="2.25.2",
    replaces=None,
    dated_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    outcome=Outcome.PRESENT,
    pneumonia=FindingFacts(
        finding=Outcome.PRESENT, probability=0.946, percent="94.6", operating_point=_POINT
    ),
    other_abnormality=FindingFacts(
        finding=Outcome.ABSENT, probability=0.042, percent="4.2", operating_point=_POINT
    ),
    reason=None,
    population=None,
    model=ModelFacts(name="example", version="1.0", weights_sha256="0" * 64),
    patient=PatientFacts(
        id="EXAMPLE",
        issuer="EXAMPLE",
        name=PersonName(family="Example", given="Patient"),
        birth_date="19700101",
        sex="O",
    ),
    study=StudyFacts(
        uid="2.25.3",
        date="20260102",
        time="030000",
        description="Chest",
        accession_number="EXAMPLE",
        placer_order_number="",
        filler_order_number="",
        procedure_id="",
        procedure=None,
        referring_physician=PersonName(family="Example", given="Physician"),
    ),
    instance=InstanceFacts(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        sop_instance_uid="2.25.4",
        series_instance_uid="2.25.5",
    ),
)
"""A report with both findings."""

NOT_ANALYSED: Final = ReportFacts(
    job_id=ANALYSED.job_id,
    sop_class_uid=ANALYSED.sop_class_uid,
    sop_instance_uid="2.25.6",
    series_instance_uid="2.25.7",
    replaces=ANALYSED.sop_instance_uid,
    dated_at=ANALYSED.dated_at,
    outcome=Outcome.NOT_ANALYSED,
    pneumonia=None,
    other_abnormality=None,
    reason=Reason.BLANK,
    population=None,
    model=ANALYSED.model,
    patient=ANALYSED.patient,
    study=ANALYSED.study,
    instance=ANALYSED.instance,
)
"""A report that says why nothing was analysed; it replaces the other."""

EXAMPLES: Final = (ANALYSED, NOT_ANALYSED)
"""What every template must be able to say."""
