"""Export the audit trail to a syslog server, in order and at least once.

It runs in a thread of its own in each relay; the lease in the ledger lets one of them export. A
batch that the server did not take is sent again, with all its messages.
"""

import platform
import re
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from service.audit.message import Source, message
from service.audit.syslog import SyslogError, SyslogServer, framed
from service.domain.audit import AuditOutcome, AuditRecord
from service.domain.backoff import backoff_seconds
from service.settings import Settings
from service.storage.ledger import Ledger, LedgerError, StaleLeaseError
from service.storage.ledger.access.audit_export import ExportState
from service.telemetry.heartbeat import holder_name
from service.telemetry.metrics import AUDIT_EXPORT_FAILURES

BATCH: Final = 200
_IDLE_SECONDS: Final = 1.0  # between two looks for new records
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 300.0
_LEASE_MARGIN: Final = 30.0  # for the ledger, on top of the time limits of a connection
_STEPS: Final = 4  # of a connection, each with the time limit of its own

log = structlog.get_logger()

Pause = Callable[[int], float]


class AuditExporter:
    """Exports what is new, again and again, until it is stopped."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        holder: str | None = None,
        pause: Pause | None = None,
    ) -> None:
        self._ledger = ledger
        self._holder = holder or holder_name("relay")
        self._server = SyslogServer(settings.audit)
        self._source = source_of(settings)
        self._lease_seconds = _STEPS * settings.audit.syslog_seconds + _LEASE_MARGIN
        self._pause = pause or partial(backoff_seconds, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)

    def run(self, stopping: threading.Event) -> None:
        """Export until `stopping` is set; log errors of the ledger and go on."""
        while not stopping.is_set():
            try:
                exported = self.export_due()
            except (LedgerError, StaleLeaseError) as exc:
                log.warning("audit_export_interrupted", exc_info=exc)
                exported = 0
            if exported < BATCH:
                stopping.wait(_IDLE_SECONDS)

    def export_due(self) -> int:
        """Send one batch if there is one and no other process does; return how many were taken.

        Raises:
            LedgerError: The ledger does not answer; the batch may be sent again.
            StaleLeaseError: It took so long that another process has begun.
        """
        if not self._ledger.audit.after(self._ledger.audit_export.state().exported, 1):
            return 0  # a look without a lease, which would be a write
        leased = self._ledger.audit_export.lease(self._holder, self._lease_seconds)
        if leased is None:
            return 0
        records = self._ledger.audit.after(leased.exported, BATCH)
        return self._send(leased, records)

    def _send(self, leased: ExportState, records: Sequence[AuditRecord]) -> int:
        try:
            self._server.send([syslog_message(each, self._source) for each in records])
        except SyslogError as exc:
            self._failed(leased, exc)
            return 0
        self._ledger.audit_export.taken(leased, records[-1].id or 0)
        if leased.failures:
            log.info("audit_export_resumed", count=len(records))
        return len(records)

    def _failed(self, leased: ExportState, exc: SyslogError) -> None:
        failures = leased.failures + 1
        seconds = self._pause(failures)
        self._ledger.audit_export.failed(leased, exc.fault, again_in=seconds)
        AUDIT_EXPORT_FAILURES.labels(fault=exc.fault).inc()
        log.warning(
            "audit_export_failed", fault=str(exc.fault), count=failures, seconds=round(seconds, 1)
        )


def source_of(settings: Settings) -> Source:
    """Return who reports: the configured source, else the AE title."""
    audit = settings.audit
    return Source(id=audit.source_id or settings.dicom.ae_title, site=audit.site_id)


def syslog_message(record: AuditRecord, source: Source) -> bytes:
    """Build the syslog message of a record; the same record gives the same bytes."""
    return framed(
        message(record, source),
        at=record.at,
        host=_host(),
        failed=record.outcome is AuditOutcome.FAILURE,
    )


def _host() -> str:
    return re.sub(r"[^!-~]", "-", platform.node())[:255]  # RFC 5424, section 6.2.4
