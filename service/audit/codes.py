"""The codes of DICOM Audit Messages (PS3.15 A.5.3; PS3.16, CID 400 to 405)."""

from dataclasses import dataclass
from typing import Final

from service.domain.audit import Action

AUDIT_TRAIL: Final = "audit-trail"
WORKLIST: Final = "worklist"  # `what` of a look at the list with its patients
"""The detail `what` of a record about the audit trail itself."""


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: its code, its scheme and its meaning."""

    value: str
    scheme: str
    meaning: str


def dcm(value: str, meaning: str) -> Code:
    """Build a code of PS3.16, annex D."""
    return Code(value, "DCM", meaning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """How an action is reported: EventID, EventActionCode and EventTypeCode."""

    id: Code
    action: str  # C, R, U, D or E: create, read, update, delete, execute
    type: Code | None = None


APPLICATION: Final = dcm("110150", "Application")
DESTINATION: Final = dcm("110152", "Destination Role ID")
DESTINATION_MEDIA: Final = dcm("110154", "Destination Media")
SOURCE: Final = dcm("110153", "Source Role ID")
SOURCE_MEDIA: Final = dcm("110155", "Source Media")
URI_MEDIA: Final = dcm("110037", "URI")

STUDY_UID: Final = dcm("110180", "Study Instance UID")
NODE_ID: Final = dcm("110182", "Node ID")
# RFC 3881, section 5.5.4
PATIENT_NUMBER: Final = Code("2", "RFC-3881", "Patient Number")
SEARCH_CRITERIA: Final = Code("10", "RFC-3881", "Search Criteria")
URI: Final = Code("12", "RFC-3881", "URI")

APPLICATION_ACTIVITY: Final = dcm("110100", "Application Activity")
AUDIT_LOG_USED: Final = dcm("110101", "Audit Log Used")
INSTANCES_ACCESSED: Final = dcm("110103", "DICOM Instances Accessed")
EXPORT: Final = dcm("110106", "Export")
IMPORT: Final = dcm("110107", "Import")
QUERY: Final = dcm("110112", "Query")
SECURITY_ALERT: Final = dcm("110113", "Security Alert")
USER_AUTHENTICATION: Final = dcm("110114", "User Authentication")

_USER_CHANGED: Final = Event(
    id=SECURITY_ALERT, action="E", type=dcm("110137", "User Security Attributes Changed")
)


def _updated(word: str, meaning: str) -> Event:
    """Build the event of an action of Lobar on an instance, which no code of DICOM names."""
    return Event(id=INSTANCES_ACCESSED, action="U", type=Code(word, "99LOBAR", meaning))


EVENTS: Final[dict[Action, Event]] = {
    Action.START: Event(
        id=APPLICATION_ACTIVITY, action="E", type=dcm("110120", "Application Start")
    ),
    Action.STOP: Event(id=APPLICATION_ACTIVITY, action="E", type=dcm("110121", "Application Stop")),
    Action.SIGN_IN: Event(id=USER_AUTHENTICATION, action="E", type=dcm("110122", "Login")),
    Action.SIGN_OUT: Event(id=USER_AUTHENTICATION, action="E", type=dcm("110123", "Logout")),
    Action.SEARCH: Event(id=QUERY, action="E"),
    Action.VIEW: Event(id=INSTANCES_ACCESSED, action="R"),
    Action.DOWNLOAD: Event(id=EXPORT, action="R"),
    Action.UPLOAD: Event(id=IMPORT, action="C"),
    Action.REQUEUE: _updated("requeue", "Requeue"),
    Action.REANALYSE: _updated("reanalyse", "Reanalyse"),
    Action.DISMISS: _updated("dismiss", "Dismiss"),
    Action.VERDICT: _updated("verdict", "Verdict"),
    Action.EXPORT: Event(id=EXPORT, action="R"),
    Action.BACKUP: Event(id=EXPORT, action="R"),
    Action.RESTORE: Event(id=IMPORT, action="C"),
    Action.DRIFT: Event(
        id=SECURITY_ALERT, action="E", type=dcm("110131", "Software Configuration")
    ),
    Action.USER: _USER_CHANGED,
    Action.TOKEN: _USER_CHANGED,
    Action.DENIED: Event(
        id=SECURITY_ALERT, action="E", type=dcm("110132", "Use of Restricted Function")
    ),
}
"""How each action is reported; what concerns the audit trail itself is Audit Log Used."""

LOG_USED: Final = Event(id=AUDIT_LOG_USED, action="R")
