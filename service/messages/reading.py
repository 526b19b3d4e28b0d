"""Read the facts of a report from its Structured Report in the outbox.

A message is made of the report alone, so that it says what the report says, and the same however
often it is sent.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from service.dicom.output_elements import UnreadableOutputError
from service.dicom.patient_attributes import HeaderTexts, read_patient
from service.dicom.structured_report import Node, items_of, read_tree
from service.domain.reasons import Reason
from service.domain.routing import Outcome
from service.messages.facts import (
    Code,
    FindingFacts,
    InstanceFacts,
    ModelFacts,
    PatientFacts,
    PersonName,
    ReportFacts,
    StudyFacts,
    Threshold,
)
from service.storage.spool import job_of_output

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_CONTENT_DATE, _CONTENT_TIME, _OFFSET = 0x00080023, 0x00080033, 0x00080201
_STUDY_TIME, _STUDY_DESCRIPTION, _REFERRER = 0x00080030, 0x00081030, 0x00080090
_ISSUER: Final = 0x00100021
_STUDY_UID, _SERIES_UID = 0x0020000D, 0x0020000E
_REFERENCED_CLASS, _REFERENCED_INSTANCE = 0x00081150, 0x00081155
_REFERENCED_SERIES, _REFERENCED_SOP = 0x00081115, 0x00081199
_REQUESTS, _EVIDENCE, _PREDECESSORS = 0x0040A370, 0x0040A375, 0x0040A360
_PLACER, _FILLER = 0x00402016, 0x00402017
_PROCEDURE_ID, _PROCEDURE_CODE = 0x00401001, 0x00321064
_CODE_VALUE, _CODE_SCHEME, _CODE_MEANING = 0x00080100, 0x00080102, 0x00080104
_LONG_CODE_VALUE: Final = 0x00080119
_CONTENT, _NAME, _CODE, _TEXT = 0x0040A730, 0x0040A043, 0x0040A168, 0x0040A160
_MEASURED, _NUMBER = 0x0040A300, 0x0040A30A

_PNEUMONIA, _OTHER = ("SCT", "233604007"), ("99LOBAR", "abnormal-other")
_CERTAINTY, _OTHER_CERTAINTY = ("DCM", "111012"), ("99LOBAR", "certainty-other")
_NOT_ANALYSED: Final = ("99LOBAR", "not-analysed")
_ALGORITHM, _ALGORITHM_VERSION = ("DCM", "111001"), ("DCM", "111003")
_PARAMETERS: Final = ("DCM", "111002")
_OUTCOMES: Final = {  # the codes of findings in SNOMED CT
    "52101004": Outcome.PRESENT,
    "272519000": Outcome.ABSENT,
    "373068000": Outcome.INDETERMINATE,
}
_POINT: Final = (
    r"(.+): threshold (\S+), undetermined between (\S+) and (\S+)"  # workers.reporting.wording
)

_EXPLICIT_LITTLE_ENDIAN: Final = (False, True)

_Key = tuple[str, str]


def read_report(path: Path) -> ReportFacts:
    """Read the facts of a report in the outbox.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableOutputError: it is not a report of Lobar's.
    """
    tree = read_tree(path)
    try:
        return _Reader(tree).facts(job_of_output(path))
    except (LookupError, ValueError) as exc:
        raise UnreadableOutputError("The output is not a report of Lobar's.") from exc


class _Reader:
    """Reads one report; what is missing of the report itself raises LookupError or ValueError."""

    def __init__(self, tree: Node) -> None:
        self._tree = tree
        self._header = _dataset(tree)
        self._texts = HeaderTexts(self._header)
        self._said = dict(reversed(list(self._content(tree))))  # the first of each name
        self._parameters = [text for key, text in self._content(tree) if key == _PARAMETERS]

    def facts(self, job_id: str) -> ReportFacts:
        """Return the facts."""
        pneumonia = self._finding(_PNEUMONIA, _CERTAINTY, "pneumonia", "Operating point")
        reason = self._said.get(_NOT_ANALYSED)
        if (pneumonia is None) == (reason is None):
            raise LookupError("neither a finding nor a reason")
        return ReportFacts(
            job_id=job_id,
            sop_class_uid=self._uid(_SOP_CLASS_UID),
            sop_instance_uid=self._uid(_SOP_INSTANCE_UID),
            series_instance_uid=self._uid(_SERIES_UID),
            replaces=self._replaces(),
            dated_at=self._dated_at(),
            outcome=pneumonia.finding if pneumonia else Outcome.NOT_ANALYSED,
            pneumonia=pneumonia,
            other_abnormality=self._finding(
                _OTHER,
                _OTHER_CERTAINTY,
                "other abnormality",
                "Operating point of other abnormality",
            ),
            reason=Reason(reason) if reason else None,
            population=self._parameter(r"Population: (.+)"),
            model=self._model(),
            patient=self._patient(),
            study=self._study(),
            instance=self._instance(),
        )

    def _finding(self, name: _Key, certainty: _Key, of: str, point: str) -> FindingFacts | None:
        if name not in self._said:
            return None
        return FindingFacts(
            finding=_OUTCOMES[self._said[name]],
            probability=float(self._required(rf"Probability of {of}: (\S+)")),
            percent=f"{float(self._said[certainty]):.1f}",
            operating_point=self._point(point),
        )

    def _point(self, label: str) -> Threshold:
        for text in self._parameters:
            match = re.fullmatch(f"{label} {_POINT}", text)
            if match and not match[1].startswith("of other abnormality "):
                name, *numbers = match.groups()
                threshold, low, high = map(float, numbers)
                return Threshold(
                    name=name, threshold=threshold, indeterminate_low=low, indeterminate_high=high
                )
        raise LookupError(label)

    def _model(self) -> ModelFacts:
        return ModelFacts(
            name=self._said[_ALGORITHM],
            version=self._said[_ALGORITHM_VERSION],
            weights_sha256=self._required(r"Weights SHA-256: ([0-9a-f]{64})"),
        )

    def _patient(self) -> PatientFacts:
        patient = read_patient(self._header)
        return PatientFacts(
            id=patient.patient_id,
            issuer=self._text(_ISSUER),
            name=_person(patient.patient_name),
            birth_date=patient.birth_date,
            sex=patient.sex if patient.sex in {"M", "F", "O"} else "",
        )

    def _study(self) -> StudyFacts:
        patient = read_patient(self._header)
        requests = items_of(self._tree, _REQUESTS)
        request = requests[0] if len(requests) == 1 else {}  # of several none is meant
        codes = items_of(request, _PROCEDURE_CODE)
        return StudyFacts(
            uid=self._uid(_STUDY_UID),
            date=patient.study_date,
            time=_time(self._text(_STUDY_TIME)),
            description=self._text(_STUDY_DESCRIPTION),
            accession_number=patient.accession_number,
            placer_order_number=self._text(_PLACER, request),
            filler_order_number=self._text(_FILLER, request),
            procedure_id=self._text(_PROCEDURE_ID, request),
            procedure=self._code(codes[0]) if codes else None,
            referring_physician=_person(self._text(_REFERRER)),
        )

    def _instance(self) -> InstanceFacts:
        (study, *_) = items_of(self._tree, _EVIDENCE)
        (series, *_) = items_of(study, _REFERENCED_SERIES)
        (instance, *_) = items_of(series, _REFERENCED_SOP)
        return InstanceFacts(
            sop_class_uid=self._uid(_REFERENCED_CLASS, instance),
            sop_instance_uid=self._uid(_REFERENCED_INSTANCE, instance),
            series_instance_uid=self._uid(_SERIES_UID, series),
        )

    def _replaces(self) -> str | None:
        for study in items_of(self._tree, _PREDECESSORS):
            for series in items_of(study, _REFERENCED_SERIES):
                for instance in items_of(series, _REFERENCED_SOP):
                    return self._uid(_REFERENCED_INSTANCE, instance)
        return None

    def _dated_at(self) -> datetime:
        """Return when the report is dated; without a time zone that is in UTC."""
        moment = datetime.strptime(  # noqa: DTZ007 -- the time zone follows
            self._text(_CONTENT_DATE) + self._text(_CONTENT_TIME), "%Y%m%d%H%M%S"
        )
        match = re.fullmatch(r"([+-])(\d\d)(\d\d)", self._text(_OFFSET))
        if match is None:
            return moment.replace(tzinfo=UTC)
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return moment.replace(tzinfo=timezone(-offset if match[1] == "-" else offset))

    def _content(self, node: Node) -> Iterator[tuple[_Key, str]]:
        """Yield each content item with a coded name: the code value, number or text that it has."""
        for item in items_of(node, _CONTENT):
            for name in items_of(item, _NAME):
                coded = self._code(name)
                yield (coded.scheme, coded.value), self._value(item)
            yield from self._content(item)

    def _value(self, item: Node) -> str:
        for code in items_of(item, _CODE):
            return self._code(code).value
        for measured in items_of(item, _MEASURED):
            return self._text(_NUMBER, measured)
        return self._text(_TEXT, item)

    def _code(self, item: Node) -> Code:
        return Code(
            value=self._text(_CODE_VALUE, item) or self._text(_LONG_CODE_VALUE, item),
            scheme=self._text(_CODE_SCHEME, item),
            meaning=self._text(_CODE_MEANING, item),
        )

    def _parameter(self, pattern: str) -> str | None:
        matches = (re.fullmatch(pattern, text) for text in self._parameters)
        return next((match[1] for match in matches if match), None)

    def _required(self, pattern: str) -> str:
        found = self._parameter(pattern)
        if found is None:
            raise LookupError(pattern)
        return found

    def _text(self, tag: int, item: "Node | None" = None) -> str:
        return self._texts.text(self._header if item is None else _dataset(item), tag)

    def _uid(self, tag: int, item: "Node | None" = None) -> str:
        uid = self._text(tag, item)
        if not re.fullmatch(r"[0-9.]{1,64}", uid):
            raise ValueError("not a UID")
        return uid


def _dataset(node: Node) -> Dataset:
    """Return the elements of a node that are no sequences, undecoded."""
    return Dataset(
        {
            BaseTag(tag): RawDataElement(
                BaseTag(tag), None, len(value), value, 0, *_EXPLICIT_LITTLE_ENDIAN
            )
            for tag, value in node.items()
            if isinstance(value, bytes)
        }
    )


def _person(name: str) -> PersonName:
    """Return the first group of a name that says anything (PS3.5 6.2.1)."""
    group = next((each for each in name.split("=") if each.strip("^ ")), "")
    family, given, middle, prefix, suffix, *_ = [*(x.strip() for x in group.split("^")), *[""] * 5]
    return PersonName(family=family, given=given, middle=middle, prefix=prefix, suffix=suffix)


def _time(text: str) -> str:
    """Return a time as HHMMSS, or as much of it as there is; blank where it is none."""
    match = re.match(r"([01]\d|2[0-3])([0-5]\d)?([0-5]\d)?", text.replace(":", ""))
    return match[0] if match else ""
