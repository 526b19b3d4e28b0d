"""A record of the audit trail as programs read it: JSON and CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Final, Self

from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.storage.ledger import Ledger
from service.storage.ledger.access.audit_trail import AuditFilter

_AT_ONCE: Final = 500
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A record of the audit trail; each field name is part of the public API."""

    id: int
    at: float  # seconds since the epoch
    action: Action
    outcome: AuditOutcome
    user: str  # blank while there is no user, and of a command
    role: str
    address: str  # of the client
    job_id: str | None
    study_instance_uid: str | None
    sop_instance_uid: str | None
    patient_id: str | None
    detail: dict[str, str | int | float | bool | None]

    @classmethod
    def of(cls, record: AuditRecord) -> Self:
        """Build the entry of a record of the ledger."""
        return cls(
            id=record.id or 0,
            at=record.at,
            action=record.action,
            outcome=record.outcome,
            user=record.user,
            role=record.role,
            address=record.address,
            job_id=record.job_id,
            study_instance_uid=record.study_instance_uid,
            sop_instance_uid=record.sop_instance_uid,
            patient_id=record.patient_id,
            detail=record.detail,
        )


COLUMNS: Final = ("time", *(field.name for field in fields(AuditEntry)))


def all_records(ledger: Ledger, where: AuditFilter) -> Iterator[AuditRecord]:
    """Read all records that pass a filter, the oldest first, some at a time."""
    last = 0
    while page := ledger.audit.after(last, _AT_ONCE, where):
        yield from page
        last = page[-1].id or 0


def csv_lines(records: Iterable[AuditRecord]) -> Iterator[str]:
    """Write records as CSV (RFC 4180), a heading first.

    A cell that a spreadsheet would calculate begins with an apostrophe: an ID comes from a header.
    """
    yield _line(COLUMNS)
    for record in records:
        values = asdict(AuditEntry.of(record))
        values["detail"] = json.dumps(record.detail) if record.detail else ""
        yield _line([iso_time(record.at), *map(_cell, values.values())])


def json_line(record: AuditRecord) -> str:
    """Write a record as one JSON object."""
    return json.dumps(asdict(AuditEntry.of(record)))


def iso_time(at: float) -> str:
    """Format a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(cells: Iterable[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerow(cells)
    return stream.getvalue()
