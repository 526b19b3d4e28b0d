"""The codes, identifiers and references that resources share."""

from dataclasses import dataclass
from typing import Any, Final

from service.domain.routing import Outcome
from service.messages.facts import ReportFacts

Resource = dict[str, Any]
"""A resource, or a part of one, as its JSON is in Python."""

SNOMED_CT: Final = "http://snomed.info/sct"
DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
LOINC: Final = "http://loinc.org"
UCUM: Final = "http://unitsofmeasure.org"
LOBAR: Final = "urn:oid:2.25.112769414963901166607507825662184684754"
"""Lobar's coding scheme, 99LOBAR in reports, by its UID (workers.reporting.codes)."""

DICOM_UID: Final = "urn:dicom:uid"
_HL7: Final = "http://terminology.hl7.org/CodeSystem"

PNEUMONIA: Final = (SNOMED_CT, "233604007", "Pneumonia")
OTHER_ABNORMALITY: Final = (LOBAR, "abnormal-other", "Abnormality other than pneumonia")
CERTAINTY: Final = (DCM, "111012", "Certainty of Finding")
OTHER_CERTAINTY: Final = (LOBAR, "certainty-other", "Other abnormality")
PROBABILITY: Final = (LOBAR, "probability", "Probability as computed")
CHEST: Final = (SNOMED_CT, "51185008", "Thoracic structure")
IMAGING_STUDY: Final = (LOINC, "18748-4", "Diagnostic imaging study")
RADIOLOGY: Final = (f"{_HL7}/v2-0074", "RAD", "Radiology")
IMAGING: Final = (f"{_HL7}/observation-category", "imaging", "Imaging")
NOT_PERFORMED: Final = (f"{_HL7}/data-absent-reason", "not-performed", "Not Performed")
FINDINGS: Final = {
    Outcome.PRESENT: (SNOMED_CT, "52101004", "Present"),
    Outcome.ABSENT: (SNOMED_CT, "272519000", "Absent"),
    Outcome.INDETERMINATE: (SNOMED_CT, "373068000", "Undetermined"),
}
_INTERPRETATION: Final = f"{_HL7}/v3-ObservationInterpretation"
INTERPRETATIONS: Final = {
    Outcome.PRESENT: (_INTERPRETATION, "POS", "Positive"),
    Outcome.ABSENT: (_INTERPRETATION, "NEG", "Negative"),
    Outcome.INDETERMINATE: (_INTERPRETATION, "IND", "Indeterminate"),
}
_IDENTIFIER_TYPES: Final = f"{_HL7}/v2-0203"

Term = tuple[str, str, str]
"""System, code and display."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Systems:
    """Whose identifiers those in headers are, as URIs; None where nobody said."""

    patient_id: str | None = None
    accession_number: str | None = None


def concept(*terms: Term, text: str | None = None) -> Resource:
    """Return a CodeableConcept."""
    coding = [{"system": system, "code": code, "display": shown} for system, code, shown in terms]
    return {"coding": coding} if text is None else {"coding": coding, "text": text}


def uid_identifier(uid: str) -> Resource:
    """Return the identifier that a DICOM UID is (FHIR R4, ImagingStudy 8.13.5)."""
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def study_reference(report: ReportFacts) -> Resource:
    """Return a reference to the study, by its UID."""
    return {"type": "ImagingStudy", "identifier": uid_identifier(report.study.uid)}


def subject(report: ReportFacts, systems: Systems) -> Resource | None:
    """Return a reference to the patient, by the ID in the header; None where it has nothing."""
    patient = report.patient
    found: Resource = {"type": "Patient"}
    if patient.id:
        found["identifier"] = _identifier(patient.id, "MR", systems.patient_id)
        if patient.issuer:
            found["identifier"]["assigner"] = {"display": patient.issuer}
    shown = ", ".join(each for each in (patient.name.family, patient.name.given) if each)
    if shown:
        found["display"] = shown
    return found if len(found) > 1 else None


def orders(report: ReportFacts, systems: Systems) -> list[Resource]:
    """Return references to the order, by the numbers in the header."""
    study = report.study
    numbers = (
        (study.accession_number, "ACSN", systems.accession_number),
        (study.placer_order_number, "PLAC", None),
        (study.filler_order_number, "FILL", None),
    )
    return [
        {"type": "ServiceRequest", "identifier": _identifier(value, kind, system)}
        for value, kind, system in numbers
        if value
    ]


def study_date(report: ReportFacts) -> str | None:
    """Return the date of the study (its time has no time zone); None where it has none."""
    date = report.study.date
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if date else None


def present(resource: Resource) -> Resource:
    """Return a resource without the elements that are empty, which JSON may not have."""
    return {name: value for name, value in resource.items() if value not in (None, [], {}, "")}


def _identifier(value: str, kind: str, system: str | None) -> Resource:
    found: Resource = {
        "type": {"coding": [{"system": _IDENTIFIER_TYPES, "code": kind}]},
        "value": value,
    }
    if system is not None:
        found["system"] = system
    return found
