"""A CloudEvent about a report (CloudEvents 1.0), as JSON or as headers and data."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from service.messages.facts import FindingFacts, ReportFacts
from service.messages.templating import as_json, load_template, render, write_json

STRUCTURED: Final = "application/cloudevents+json; charset=utf-8"
_DATA: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """An event: its context attributes, and its data as JSON."""

    attributes: Mapping[str, str]
    data: Any

    @property
    def id(self) -> str:
        """The id of the event, the same however often it is sent."""
        return self.attributes["id"]

    def structured(self) -> tuple[dict[str, str], bytes]:
        """Return headers and body in structured mode (HTTP binding 3.2)."""
        return {"Content-Type": STRUCTURED}, _encode({**self.attributes, "data": self.data})

    def binary(self) -> tuple[dict[str, str], bytes]:
        """Return headers and body in binary mode (HTTP binding 3.1)."""
        names = (name for name in self.attributes if name != "datacontenttype")
        headers = {f"ce-{name}": self.attributes[name] for name in names}
        return {**headers, "Content-Type": _DATA}, _encode(self.data)


def build_event(report: ReportFacts, data: Any, *, source: str, kind: str) -> CloudEvent:  # noqa: ANN401 -- JSON
    """Build the event about a report.

    Its id is the report's SOP Instance UID: a receiver that has seen it for this source has the
    event already. Its subject is the radiograph.
    """
    return CloudEvent(
        attributes={
            "specversion": "1.0",
            "id": report.sop_instance_uid,
            "source": source,
            "type": kind,
            "subject": report.instance.sop_instance_uid,
            "time": report.dated_at.isoformat(),
            "datacontenttype": _DATA,
        },
        data=data,
    )


class EventData:
    """Makes the data of events: the usual ones, or by a template."""

    def __init__(self, template_file: Path | None, *, include_patient: bool) -> None:
        """Load the template, if there is one.

        Raises:
            MessageTemplateError: it cannot be read, or is no template.
        """
        self._include_patient = include_patient
        self._template = None if template_file is None else load_template(template_file, write_json)

    def of(self, report: ReportFacts) -> Any:  # noqa: ANN401 -- JSON
        """Return the data about a report, as JSON is in Python.

        Raises:
            MessageTemplateError: the template makes no JSON.
        """
        said = report if self._include_patient else report.without_patient()
        if self._template is None:
            return usual_data(said, include_patient=self._include_patient)
        return as_json(render(self._template, said, {}))


def usual_data(report: ReportFacts, *, include_patient: bool) -> dict[str, Any]:
    """Return the data of an event without a template; programs read it by these names."""
    data: dict[str, Any] = {
        "job_id": report.job_id,
        "outcome": str(report.outcome),
        "reason": None if report.reason is None else str(report.reason),
        "sentence": report.sentence,
        "caution": report.caution,
        "pneumonia": _finding(report.pneumonia),
        "other_abnormality": _finding(report.other_abnormality),
        "population": report.population,
        "model": asdict(report.model),
        "study_instance_uid": report.study.uid,
        "instance": asdict(report.instance),
        "report": {
            "sop_class_uid": report.sop_class_uid,
            "sop_instance_uid": report.sop_instance_uid,
            "series_instance_uid": report.series_instance_uid,
            "replaces": report.replaces,
        },
    }
    if include_patient:
        data["patient"] = asdict(report.patient)
        data["study"] = asdict(report.study)
    return data


def _finding(finding: FindingFacts | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    return {
        "finding": str(finding.finding),
        "probability": finding.probability,
        "operating_point": asdict(finding.operating_point),
    }


def _encode(value: Any) -> bytes:  # noqa: ANN401 -- JSON
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
