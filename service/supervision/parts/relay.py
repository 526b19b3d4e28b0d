"""The relay, as one process."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from service.audit.export import AuditExporter
from service.dispatch.notifier import Notifier
from service.dispatch.relay import Relay
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.opening import open_stores, redis_url
from service.supervision.parts.stopping import stop_event
from service.telemetry.heartbeat import HeartbeatSender
from service.telemetry.progress import Progress


def run_relay(settings: Settings) -> None:
    """Notify the workers of due work, and export the audit trail, until SIGTERM."""
    stopping = stop_event()
    progress = Progress()
    with (
        closing(Notifier(redis_url(settings))) as notifier,
        open_stores(settings) as (ledger, spool),
        HeartbeatSender(ledger, "relay", lambda: not stopping.is_set(), progress),
        _exporting(settings, ledger, stopping),
    ):
        Relay(settings, ledger, spool, notifier, progress).run(stopping)


@contextmanager
def _exporting(settings: Settings, ledger: Ledger, stopping: threading.Event) -> Iterator[None]:
    """Export the audit trail in a thread of its own, where a syslog server is configured.

    The relay's progress does not depend on it: a syslog server that hangs delays nothing else.
    """
    if settings.audit.syslog_host is None:
        yield
        return
    exporter = AuditExporter(settings, ledger)
    thread = threading.Thread(
        target=exporter.run, args=(stopping,), name="audit-export", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(timeout=min(settings.drain_seconds / 2, settings.audit.syslog_seconds))
