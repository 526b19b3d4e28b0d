"""DICOM Audit Messages: their codes, and what they say of a person and a patient."""

import base64
from dataclasses import fields, replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr._concepts_dict import concepts

from service.audit import codes
from service.audit.codes import AUDIT_TRAIL, EVENTS, WORKLIST, Code
from service.audit.message import NO_PATIENT_ID, Source, message
from service.domain.audit import Action, AuditOutcome, AuditRecord

_of_dicom: dict[str, dict[str, tuple[str, list[int]]]] = concepts["DCM"]  # type: ignore[assignment]
LOBAR = Source(id="LOBAR", site="clinic")
DCM: dict[str, str] = {
    value: meaning for meanings in _of_dicom.values() for value, (meaning, _) in meanings.items()
}
VIEWED = AuditRecord(
    id=7,
    at=1764424800.25,
    action=Action.VIEW,
    user="ann",
    role="radiologist",
    address="192.0.2.7",
    job_id="a" * 32,
    study_instance_uid="1.2.3",
    sop_instance_uid="1.2.3.4",
    patient_id="PAT-1",
    detail={"page": "job"},
)


def read(record: AuditRecord) -> ET.Element:
    written = message(record, LOBAR)
    assert b"\n" not in written
    return ET.fromstring(written)  # noqa: S314 -- our own


def only(element: ET.Element, path: str) -> ET.Element:
    (found,) = element.findall(path)
    return found


def test_the_codes_are_those_of_the_standard() -> None:
    named = [each for each in vars(codes).values() if isinstance(each, Code)]
    named += [
        each for event in EVENTS.values() for each in (event.id, event.type) if each is not None
    ]
    of_dicom = {each.value: each.meaning for each in named if each.scheme == "DCM"}
    assert len(of_dicom) > 20
    assert of_dicom == {value: DCM[value] for value in of_dicom}


@pytest.mark.parametrize(
    ("action", "event", "code", "type_"),
    [
        (Action.START, "110100", "E", "110120"),
        (Action.STOP, "110100", "E", "110121"),
        (Action.SIGN_IN, "110114", "E", "110122"),
        (Action.SIGN_OUT, "110114", "E", "110123"),
        (Action.SEARCH, "110112", "E", None),
        (Action.VIEW, "110103", "R", None),
        (Action.DOWNLOAD, "110106", "R", None),
        (Action.UPLOAD, "110107", "C", None),
        (Action.REQUEUE, "110103", "U", "requeue"),
        (Action.REANALYSE, "110103", "U", "reanalyse"),
        (Action.DISMISS, "110103", "U", "dismiss"),
        (Action.VERDICT, "110103", "U", "verdict"),
        (Action.EXPORT, "110106", "R", None),
        (Action.DRIFT, "110113", "E", "110131"),
        (Action.USER, "110113", "E", "110137"),
        (Action.TOKEN, "110113", "E", "110137"),
        (Action.DENIED, "110113", "E", "110132"),
    ],
)
def test_each_action_is_the_event_of_the_standard(
    action: Action, event: str, code: str, type_: str | None
) -> None:
    identification = only(read(replace(VIEWED, action=action)), "EventIdentification")
    assert only(identification, "EventID").get("csd-code") == event
    assert identification.get("EventActionCode") == code
    types = [each.get("csd-code") for each in identification.findall("EventTypeCode")]
    assert types == ([] if type_ is None else [type_])


def test_every_action_has_an_event() -> None:
    assert EVENTS.keys() == set(Action)


@pytest.mark.parametrize("action", [Action.VIEW, Action.EXPORT])
def test_reading_the_trail_is_audit_log_used(action: Action) -> None:
    root = read(AuditRecord(at=1, action=action, user="eve", detail={"what": AUDIT_TRAIL}))
    assert only(root, "EventIdentification/EventID").get("csd-code") == "110101"
    log = only(root, "ParticipantObjectIdentification")
    assert log.get("ParticipantObjectTypeCodeRole") == "13"
    assert only(log, "ParticipantObjectName").text == "Security Audit Log"


def test_a_look_at_the_worklist_is_a_query() -> None:
    root = read(AuditRecord(at=1, action=Action.VIEW, user="ann", detail={"what": WORKLIST}))
    assert only(root, "EventIdentification/EventID").get("csd-code") == "110112"
    query = only(root, "ParticipantObjectIdentification")
    assert query.get("ParticipantObjectID") == "worklist"
    assert only(query, "ParticipantObjectQuery").text


@pytest.mark.parametrize(
    ("action", "outcome", "indicator"),
    [
        (Action.VIEW, AuditOutcome.SUCCESS, "0"),
        (Action.SIGN_IN, AuditOutcome.FAILURE, "4"),
        (Action.DENIED, AuditOutcome.FAILURE, "8"),
    ],
)
def test_the_outcome_is_an_indicator(action: Action, outcome: AuditOutcome, indicator: str) -> None:
    root = read(replace(VIEWED, action=action, outcome=outcome))
    assert only(root, "EventIdentification").get("EventOutcomeIndicator") == indicator


def test_it_says_who_did_it_from_where_and_when() -> None:
    root = read(VIEWED)
    person = only(root, "ActiveParticipant")
    assert person.attrib == {
        "UserID": "ann",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "192.0.2.7",
        "NetworkAccessPointTypeCode": "2",
    }
    assert only(person, "RoleIDCode").get("csd-code") == "radiologist"
    event = only(root, "EventIdentification")
    assert event.get("EventDateTime") == "2025-11-29T14:00:00.250+00:00"
    assert only(root, "AuditSourceIdentification").attrib == {
        "AuditEnterpriseSiteID": "clinic",
        "AuditSourceID": "LOBAR",
    }


@pytest.mark.parametrize(
    ("user", "account", "said"),
    [("ann", "root", "ann"), ("", "root", "root"), ("", None, "anonymous")],
)
def test_who_has_no_name_is_the_account_or_anonymous(
    user: str, account: str | None, said: str
) -> None:
    root = read(replace(VIEWED, user=user, detail={"account": account}))
    assert only(root, "ActiveParticipant").get("UserID") == said


def test_of_the_patient_it_has_the_id_and_nothing_else() -> None:
    study, patient = read(VIEWED).findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    instance = "ParticipantObjectDescription/SOPClass/Instance"
    assert only(study, instance).attrib == {"UID": "1.2.3.4"}
    assert patient.attrib == {
        "ParticipantObjectID": "PAT-1",
        "ParticipantObjectTypeCode": "1",
        "ParticipantObjectTypeCodeRole": "1",
    }
    assert [each.tag for each in patient] == [
        "ParticipantObjectIDTypeCode",
        "ParticipantObjectName",
    ]
    assert not only(patient, "ParticipantObjectName").text


def test_a_study_without_a_patient_id_has_a_patient_all_the_same() -> None:
    _, patient = read(replace(VIEWED, patient_id=None)).findall("ParticipantObjectIdentification")
    assert patient.get("ParticipantObjectID") == NO_PATIENT_ID


def test_the_details_are_pairs_in_base64() -> None:
    study = read(VIEWED).findall("ParticipantObjectIdentification")[0]
    details = {
        str(each.get("type")): base64.b64decode(str(each.get("value")))
        for each in study.findall("ParticipantObjectDetail")
    }
    assert details == {"job": b"a" * 32, "page": b"job"}


@given(st.data())
def test_any_text_gives_well_formed_xml(data: st.DataObject) -> None:
    """Control characters, surrogates, markup: what a header or a person may have written."""
    texts = st.text(st.characters(), max_size=40)
    names = [field.name for field in fields(AuditRecord)]
    words: dict[str, Any] = {
        name: data.draw(texts)
        for name in names
        if name not in {"id", "at", "action", "outcome", "detail"}
    }
    record = AuditRecord(
        at=data.draw(st.floats(0, 4e9)),
        action=data.draw(st.sampled_from(Action)),
        outcome=data.draw(st.sampled_from(AuditOutcome)),
        detail={"word": data.draw(texts), "number": data.draw(st.integers())},
        **words,
    )
    assert read(record).tag == "AuditMessage"
