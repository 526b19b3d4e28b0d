"""A report as a DiagnosticReport, with an Observation for each finding."""

from dataclasses import dataclass
from html import escape
from typing import Final

from service.dicom.implementation import MANUFACTURER
from service.domain.routing import Outcome
from service.messages.facts import FindingFacts, ReportFacts
from service.messages.fhir.terms import (
    CERTAINTY,
    CHEST,
    FINDINGS,
    IMAGING,
    IMAGING_STUDY,
    INTERPRETATIONS,
    LOBAR,
    NOT_PERFORMED,
    OTHER_ABNORMALITY,
    OTHER_CERTAINTY,
    PNEUMONIA,
    PROBABILITY,
    RADIOLOGY,
    UCUM,
    Resource,
    Systems,
    Term,
    concept,
    orders,
    present,
    study_date,
    study_reference,
    subject,
    uid_identifier,
)

STATUS: Final = "preliminary"  # no person has verified it
OF_PNEUMONIA: Final = "pneumonia"
OF_OTHER: Final = "other-abnormality"
_REPLACES: Final = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"
_MODEL: Final = "model"  # the id of the contained Device
_TEXT: Final = "Chest radiograph, analysed for pneumonia by software"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationOf:
    """An Observation, and which finding it is of."""

    name: str
    resource: Resource


def build_observations(report: ReportFacts, systems: Systems) -> list[ObservationOf]:
    """Build the Observations of a report: of pneumonia, and of the other abnormality."""
    built = [
        _observation(report, systems, OF_PNEUMONIA, PNEUMONIA, CERTAINTY, report.pneumonia),
    ]
    if report.other_abnormality is not None:
        other = report.other_abnormality
        built.append(
            _observation(report, systems, OF_OTHER, OTHER_ABNORMALITY, OTHER_CERTAINTY, other)
        )
    return built


def build_diagnostic_report(report: ReportFacts, systems: Systems, results: list[str]) -> Resource:
    """Build the DiagnosticReport of a report.

    Args:
        report: the facts.
        systems: whose identifiers those of the header are.
        results: references to the Observations.
    """
    is_positive = report.outcome is Outcome.PRESENT
    conclusion = " ".join(
        each for each in (f"{report.sentence}.", report.explanation, report.caution) if each
    )
    return present(
        {
            "resourceType": "DiagnosticReport",
            "text": _narrative(conclusion),
            "extension": _replaced(report),
            "identifier": [uid_identifier(report.sop_instance_uid)],
            "basedOn": orders(report, systems),
            "status": STATUS,
            "category": [concept(RADIOLOGY)],
            "code": concept(IMAGING_STUDY, text=_TEXT),
            "subject": subject(report, systems),
            "effectiveDateTime": study_date(report),
            "issued": report.dated_at.isoformat(),
            "result": [{"reference": each} for each in results],
            "imagingStudy": [study_reference(report)],
            "conclusion": conclusion,
            # a code of its own says that the condition is there: none for what is absent
            "conclusionCode": [concept(PNEUMONIA)] if is_positive else [],
        }
    )


def observation_identifier(report: ReportFacts, name: str) -> Resource:
    """Return the identifier of an Observation: within its report, by the report's UID."""
    return {"system": f"urn:oid:{report.sop_instance_uid}", "value": name}


def _observation(
    report: ReportFacts,
    systems: Systems,
    name: str,
    code: Term,
    certainty: Term,
    finding: FindingFacts | None,
) -> ObservationOf:
    resource = {
        "resourceType": "Observation",
        "text": _narrative(f"{report.sentence}. {report.caution}"),
        "contained": [_device(report)],
        "identifier": [observation_identifier(report, name)],
        "basedOn": orders(report, systems),
        "status": STATUS,
        "category": [concept(IMAGING)],
        "code": concept(code),
        "subject": subject(report, systems),
        "effectiveDateTime": study_date(report),
        "issued": report.dated_at.isoformat(),
        **(_absent(report) if finding is None else _found(finding, certainty)),
        "note": [{"text": report.caution}],
        "bodySite": concept(CHEST),
        "device": {"reference": f"#{_MODEL}"},
        "derivedFrom": [study_reference(report)],
    }
    return ObservationOf(name=name, resource=present(resource))


def _found(finding: FindingFacts, certainty: Term) -> Resource:
    return {
        "valueCodeableConcept": concept(FINDINGS[finding.finding]),
        "interpretation": [concept(INTERPRETATIONS[finding.finding])],
        "component": [
            _quantity(certainty, float(finding.percent), "%", "%"),
            _quantity(PROBABILITY, finding.probability, "1", "1"),
        ],
    }


def _quantity(code: Term, value: float, unit: str, symbol: str) -> Resource:
    quantity = {"value": value, "unit": unit, "system": UCUM, "code": symbol}
    return {"code": concept(code), "valueQuantity": quantity}


def _absent(report: ReportFacts) -> Resource:
    """Return why there is no finding."""
    reason: Term = (LOBAR, str(report.reason), report.explanation)
    return {"dataAbsentReason": concept(NOT_PERFORMED, reason)}


def _device(report: ReportFacts) -> Resource:
    """Return the model as a contained Device."""
    model = report.model
    return {
        "resourceType": "Device",
        "id": _MODEL,
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "version": [{"value": model.version}],
        "note": [{"text": f"Weights SHA-256: {model.weights_sha256}"}],
    }


def _replaced(report: ReportFacts) -> list[Resource]:
    if report.replaces is None:
        return []
    reference = {"type": "DiagnosticReport", "identifier": uid_identifier(report.replaces)}
    return [{"url": _REPLACES, "valueReference": reference}]


def _narrative(text: str) -> Resource:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml">{escape(text)}</div>'
    return {"status": "generated", "div": div}
