"""Append to the audit trail what a request or a command did."""

import os
import pwd
import time
from collections.abc import Callable
from dataclasses import replace

from service.domain.audit import Action, AuditRecord
from service.domain.job import Job
from service.storage.ledger import Ledger
from service.telemetry.metrics import AUDIT_RECORDS


def record(ledger: Ledger, entry: AuditRecord, job: Job | None = None) -> None:
    """Append an entry; durable when this returns.

    Args:
        ledger: Where it is appended.
        entry: Who did what, when, and from where.
        job: To which job, if to one: its UIDs and its patient's ID are added.

    Raises:
        LedgerError: It could not be recorded.
    """
    ledger.audit.append(entry if job is None else _about(ledger, entry, job))
    AUDIT_RECORDS.labels(action=entry.action, outcome=entry.outcome).inc()


def record_command(
    ledger: Ledger,
    action: Action,
    job: Job | None = None,
    *,
    clock: Callable[[], float] = time.time,
    **detail: str | float | bool | None,
) -> None:
    """Append what a command of this machine did; `account` is that of the operating system.

    Args:
        ledger: Where it is appended.
        action: What was done.
        job: To which job, if to one.
        clock: Seconds since the epoch.
        detail: Fixed words, codes and numbers, without those that are None.

    Raises:
        LedgerError: It could not be recorded.
    """
    given: dict[str, str | int | float | bool | None] = {
        name: value for name, value in detail.items() if value is not None
    }
    whole = {"by": "command", "account": _account(), **given}
    record(ledger, AuditRecord(at=clock(), action=action, user="", detail=whole), job)


def _about(ledger: Ledger, entry: AuditRecord, job: Job) -> AuditRecord:
    patient = ledger.patients.of(job.id)
    return replace(
        entry,
        job_id=job.id,
        study_instance_uid=job.study_instance_uid,
        sop_instance_uid=job.sop_instance_uid,
        patient_id=(patient.patient_id or None) if patient else None,
    )


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number without a name
        return str(os.getuid())
