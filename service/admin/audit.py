"""Print the audit trail: as a table for people, as JSON, CSV or audit messages for programs."""

from collections.abc import Iterator
from enum import StrEnum

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.audit.codes import AUDIT_TRAIL
from service.audit.entry import all_records, csv_lines, iso_time, json_line
from service.audit.export import source_of
from service.audit.message import message
from service.audit.recording import record_command
from service.domain.audit import Action, AuditRecord
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.ledger.access.audit_trail import AuditFilter


class AuditFormat(StrEnum):
    """How the trail is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    XML = "xml"


def print_audit(settings: Settings, ledger: Ledger, where: AuditFilter, form: AuditFormat) -> None:
    """Print the records that pass a filter, the oldest first, and record that."""
    record_command(ledger, Action.EXPORT, what=AUDIT_TRAIL, form=str(form))
    records = all_records(ledger, where)
    if form is AuditFormat.TABLE:
        Console(highlight=False).print(_table(records))
        return
    for line in _lines(settings, records, form):
        print(line)  # noqa: T201 -- for programs


def _lines(settings: Settings, records: Iterator[AuditRecord], form: AuditFormat) -> Iterator[str]:
    if form is AuditFormat.CSV:
        yield from (line.rstrip("\r\n") for line in csv_lines(records))
    elif form is AuditFormat.JSON:
        yield from map(json_line, records)
    else:
        source = source_of(settings)
        yield from (message(each, source).decode() for each in records)


def _table(records: Iterator[AuditRecord]) -> Table:
    columns = ("time", "who", "role", "from", "action", "outcome", "job", "patient", "detail")
    table = Table(*columns, box=None, pad_edge=False)
    for each in records:
        detail = ", ".join(f"{name} {value}" for name, value in each.detail.items())
        job, patient = each.job_id or "", each.patient_id or ""
        cells = (each.user, each.role, each.address, each.action, each.outcome, job, patient)
        table.add_row(iso_time(each.at), *map(escape, (*cells, detail)))
    return table
