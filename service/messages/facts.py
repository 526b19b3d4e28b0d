"""What messages say: the facts of one report, as values that templates use by these names."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from service.domain.reasons import EXPLANATIONS, Reason
from service.domain.routing import Outcome

CAUTION: Final = "AI result, unverified. Not a medical device: for research use only."
_WORDS: Final = {
    Outcome.PRESENT: "PRESENT",
    Outcome.ABSENT: "ABSENT",
    Outcome.INDETERMINATE: "UNDETERMINED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded concept (PS3.3 table 8.8-1)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The operating point that a finding follows from."""

    name: str
    threshold: float
    indeterminate_low: float
    indeterminate_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingFacts:
    """A finding: of pneumonia, or of another abnormality."""

    finding: Outcome
    probability: float
    percent: str  # the probability as reports write it, to one decimal
    operating_point: Threshold

    @property
    def word(self) -> str:
        """The finding as reports write it."""
        return _WORDS[self.finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The model that was asked."""

    name: str
    version: str
    weights_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonName:
    """The alphabetic group of a name (PS3.5 6.2.1)."""

    family: str = ""
    given: str = ""
    middle: str = ""
    prefix: str = ""
    suffix: str = ""

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known."""
        return not any((self.family, self.given, self.middle, self.prefix, self.suffix))


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientFacts:
    """The patient, as the header of the radiograph says; blank where it says nothing."""

    id: str
    issuer: str  # of the ID
    name: PersonName
    birth_date: str  # YYYYMMDD
    sex: str  # M, F or O


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """The study and its order; blank where the header says nothing."""

    uid: str
    date: str  # YYYYMMDD
    time: str  # HHMMSS
    description: str
    accession_number: str
    placer_order_number: str
    filler_order_number: str
    procedure_id: str
    procedure: Code | None
    referring_physician: PersonName


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFacts:
    """The radiograph that the report is about."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """One report: what it is about, what it says, and which report it replaces."""

    job_id: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    replaces: str | None  # the SOP Instance UID of the report before
    dated_at: datetime
    outcome: Outcome
    pneumonia: FindingFacts | None  # None where it was not analysed
    other_abnormality: FindingFacts | None  # where the model reads it
    reason: Reason | None  # why it was not analysed
    population: str | None
    model: ModelFacts
    patient: PatientFacts
    study: StudyFacts
    instance: InstanceFacts

    @property
    def sentence(self) -> str:
        """What the report says, in one line."""
        if self.pneumonia is None:
            return "NOT ANALYSED for pneumonia"
        text = f"Pneumonia {self.pneumonia.word}, probability {self.pneumonia.percent} %"
        if self.other_abnormality is None:
            return text
        other = self.other_abnormality
        return f"{text}. Other abnormality {other.word}, probability {other.percent} %"

    @property
    def explanation(self) -> str:
        """Why it was not analysed, in one sentence; blank where it was."""
        return "" if self.reason is None else EXPLANATIONS[self.reason]

    def without_patient(self) -> "ReportFacts":
        """Return the same without patient and order: what is left are findings and UIDs."""
        return replace(self, patient=NO_PATIENT, study=no_study(self.study.uid))

    @property
    def caution(self) -> str:
        """What every message says beside the finding."""
        return CAUTION


NO_PATIENT: Final = PatientFacts(id="", issuer="", name=PersonName(), birth_date="", sex="")
"""What stands for a patient who is not to be named."""


def no_study(uid: str) -> StudyFacts:
    """Return what stands for a study of which nothing but the UID is to be said."""
    return StudyFacts(
        uid=uid,
        date="",
        time="",
        description="",
        accession_number="",
        placer_order_number="",
        filler_order_number="",
        procedure_id="",
        procedure=None,
        referring_physician=PersonName(),
    )
