"""Build a DICOM Audit Message (PS3.15 A.5) from a record of the audit trail.

Of the patient it has the ID and nothing else: the name of the participant object, which the schema
requires, is empty.
"""

import base64
import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree as ET

from service.audit.codes import (
    APPLICATION,
    AUDIT_TRAIL,
    DESTINATION,
    DESTINATION_MEDIA,
    EVENTS,
    EXPORT,
    IMPORT,
    LOG_USED,
    NODE_ID,
    PATIENT_NUMBER,
    QUERY,
    SEARCH_CRITERIA,
    SECURITY_ALERT,
    SOURCE,
    SOURCE_MEDIA,
    STUDY_UID,
    URI,
    URI_MEDIA,
    USER_AUTHENTICATION,
    WORKLIST,
    Code,
    Event,
)
from service.domain.audit import Action, AuditOutcome, AuditRecord

ANONYMOUS: Final = "anonymous"  # there is no user yet, or the sign-in did not name one
NO_PATIENT_ID: Final = "<none>"  # a message about a study names a patient (PS3.15 A.5.3)
PROCESS: Final = "lobar"

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 2.2
_DECLARATION: Final = b'<?xml version="1.0" encoding="UTF-8"?>'
_IP_ADDRESS: Final = "2"  # NetworkAccessPointTypeCode
_MACHINE_NAME: Final = "1"
_SYSTEM: Final = "2"  # ParticipantObjectTypeCode
_PERSON: Final = "1"
_PATIENT_ROLE: Final = "1"  # ParticipantObjectTypeCodeRole
_REPORT_ROLE: Final = "3"
_RESOURCE_ROLE: Final = "13"
_QUERY_ROLE: Final = "24"
_APPLICATION_SERVER: Final = "4"  # AuditSourceTypeCode
_MINOR_FAILURE: Final = "4"  # EventOutcomeIndicator: a sign-in may be tried again
_SERIOUS_FAILURE: Final = "8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who reports: AuditSourceID, and the site where there are several."""

    id: str
    site: str | None = None


def message(record: AuditRecord, source: Source) -> bytes:
    """Build the message of a record, as XML in UTF-8 and one line; it never fails on a value."""
    event = event_of(record)
    root = ET.Element("AuditMessage")
    _add_event(root, record, event)
    _add_participants(root, record, event)
    _add_source(root, source)
    _add_objects(root, record, event, source)
    content: bytes = ET.tostring(root, encoding="utf-8")
    return _DECLARATION + content


def event_of(record: AuditRecord) -> Event:
    """Return how a record is reported."""
    if record.detail.get("what") == AUDIT_TRAIL:
        return LOG_USED
    if record.detail.get("what") == WORKLIST:  # no instance is accessed: the list is a query
        return EVENTS[Action.SEARCH]
    return EVENTS[record.action]


def _add_event(root: ET.Element, record: AuditRecord, event: Event) -> None:
    identification = _add(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=_date_time(record.at),
        EventOutcomeIndicator=_outcome(record),
    )
    _add_code(identification, "EventID", event.id)
    if event.type is not None:
        _add_code(identification, "EventTypeCode", event.type)


def _outcome(record: AuditRecord) -> str:
    if record.outcome is AuditOutcome.SUCCESS:
        return "0"
    return _MINOR_FAILURE if record.action is Action.SIGN_IN else _SERIOUS_FAILURE


def _date_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _add_participants(root: ET.Element, record: AuditRecord, event: Event) -> None:
    if record.action in {Action.START, Action.STOP}:
        _add_participant(root, PROCESS, APPLICATION)
        return
    roles = {EXPORT: SOURCE, IMPORT: DESTINATION, QUERY: SOURCE}
    _add_person(root, record, roles.get(event.id))
    if event.id == QUERY:
        _add_participant(root, PROCESS, DESTINATION)
    elif event.id == USER_AUTHENTICATION:
        _add_participant(root, PROCESS)
    elif event.id in {EXPORT, IMPORT}:
        medium = DESTINATION_MEDIA if event.id == EXPORT else SOURCE_MEDIA
        element = _add_participant(root, record.address or PROCESS, medium)
        _add_code(_add(element, "MediaIdentifier"), "MediaType", URI_MEDIA)


def _add_person(root: ET.Element, record: AuditRecord, role: Code | None) -> None:
    name = record.user or str(record.detail.get("account") or ANONYMOUS)
    person = _add_participant(root, name, role, is_requestor=True)
    if record.address:
        person.set("NetworkAccessPointID", _text(record.address))
        person.set("NetworkAccessPointTypeCode", _kind_of(record.address))
    if record.role:
        _add_code(person, "RoleIDCode", Code(record.role, "99LOBAR", record.role.capitalize()))


def _kind_of(address: str) -> str:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return _MACHINE_NAME
    return _IP_ADDRESS


def _add_participant(
    root: ET.Element, user: str, role: Code | None = None, *, is_requestor: bool = False
) -> ET.Element:
    element = _add(
        root, "ActiveParticipant", UserID=user, UserIsRequestor=str(is_requestor).lower()
    )
    if role is not None:
        _add_code(element, "RoleIDCode", role)
    return element


def _add_source(root: ET.Element, source: Source) -> None:
    site = {} if source.site is None else {"AuditEnterpriseSiteID": source.site}
    element = _add(root, "AuditSourceIdentification", **site, AuditSourceID=source.id)
    _add(element, "AuditSourceTypeCode", **{"csd-code": _APPLICATION_SERVER})


def _add_objects(root: ET.Element, record: AuditRecord, event: Event, source: Source) -> None:
    if event is LOG_USED:
        log = _add_object(root, URI, "/audit", _RESOURCE_ROLE, name="Security Audit Log")
        _add_details(log, record)
    elif record.study_instance_uid is not None:
        _add_study(root, record, record.study_instance_uid)
        patient = record.patient_id or NO_PATIENT_ID
        _add_object(root, PATIENT_NUMBER, patient, _PATIENT_ROLE, kind=_PERSON)
    elif event.id == QUERY:
        query = _add_object(root, SEARCH_CRITERIA, WORKLIST, _QUERY_ROLE, name=None)
        _add(query, "ParticipantObjectQuery").text = _base64(_words(record))
    elif event.id == SECURITY_ALERT:
        alert = _add_object(root, NODE_ID, source.id, _RESOURCE_ROLE)
        description = {"type": "Alert Description", "value": _base64(_words(record))}
        _add(alert, "ParticipantObjectDetail", **description)
    elif event.id in {EXPORT, IMPORT}:
        table = _add_object(root, URI, str(record.detail.get("what", "/")), _REPORT_ROLE)
        _add_details(table, record)


def _add_study(root: ET.Element, record: AuditRecord, uid: str) -> None:
    study = _add_object(root, STUDY_UID, uid, _REPORT_ROLE)
    _add_details(study, record)
    if record.sop_instance_uid is not None:
        description = _add(study, "ParticipantObjectDescription")
        sop_class = _add(description, "SOPClass", NumberOfInstances="1")
        _add(sop_class, "Instance", UID=record.sop_instance_uid)


def _add_object(
    root: ET.Element,
    id_type: Code,
    id_: str,
    role: str,
    *,
    kind: str = _SYSTEM,
    name: str | None = "",
) -> ET.Element:
    """Add a participant object; its name is left out where a query follows."""
    element = _add(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=id_,
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _add_code(element, "ParticipantObjectIDTypeCode", id_type)
    if name is not None:
        _add(element, "ParticipantObjectName").text = name
    return element


def _add_details(element: ET.Element, record: AuditRecord) -> None:
    details = {"job": record.job_id, **record.detail}
    for name, value in details.items():
        if value is not None:
            _add(element, "ParticipantObjectDetail", type=name, value=_base64(str(value)))


def _words(record: AuditRecord) -> str:
    """Return the details in one line, as the alert or the query is described."""
    words = {"action": str(record.action), **record.detail}
    return ", ".join(f"{name} {value}" for name, value in words.items() if value is not None)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def _add_code(element: ET.Element, tag: str, code: Code) -> None:
    _add(
        element,
        tag,
        **{
            "csd-code": code.value,
            "codeSystemName": code.scheme,
            "displayName": code.meaning,
            "originalText": code.meaning,
        },
    )


def _add(element: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(element, tag, {name: _text(each) for name, each in attributes.items()})


def _text(value: str) -> str:
    """Replace what XML cannot hold: an ID from a header may have control characters."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value)
