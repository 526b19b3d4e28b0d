"""The audit trail: who did or saw what, and when."""

from dataclasses import dataclass, field
from enum import StrEnum


class Action(StrEnum):
    """What was done. The codes are a public interface."""

    START = "start"  # of the web server
    STOP = "stop"
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    SEARCH = "search"  # of patients
    VIEW = "view"  # a job's page, its radiograph, its report
    DOWNLOAD = "download"  # an output
    UPLOAD = "upload"
    REQUEUE = "requeue"
    REANALYSE = "reanalyse"
    DISMISS = "dismiss"
    VERDICT = "verdict"
    EXPORT = "export"  # verdicts, or the audit trail
    BACKUP = "backup"  # of ledger and spool
    RESTORE = "restore"
    DRIFT = "drift"  # what films are compared with: accepted, forgotten
    USER = "user"  # added, changed, disabled
    TOKEN = "token"  # noqa: S105 -- a word: made or revoked
    DENIED = "denied"  # a request without the permission that it needs


class AuditOutcome(StrEnum):
    """Whether it succeeded (PS3.15 A.5, EventOutcomeIndicator)."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One entry of the trail, which is append-only."""

    id: int | None = None  # the ledger's number; None until it is recorded
    at: float  # seconds since the epoch
    action: Action
    outcome: AuditOutcome = AuditOutcome.SUCCESS
    user: str  # blank while there is no user
    role: str = ""
    address: str = ""  # of the client
    job_id: str | None = None
    study_instance_uid: str | None = None
    sop_instance_uid: str | None = None
    patient_id: str | None = None
    detail: dict[str, str | int | float | bool | None] = field(default_factory=dict)
