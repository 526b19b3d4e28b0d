"""The listener, as one process."""

from contextlib import closing
from functools import partial
from typing import Final

from service.dispatch.notifier import Notifier
from service.domain.queues import INFER
from service.receiving.listener import Listener
from service.receiving.shared_listening import Sharing
from service.settings import Settings, shared_listening
from service.storage.opening import open_stores, redis_url
from service.supervision.parts.stopping import stop_event
from service.telemetry.heartbeat import HeartbeatSender
from service.telemetry.progress import Progress
from service.telemetry.tracing.starting import spans_exported

_NOTICE_SECONDS: Final = 1.0  # after which a signal to stop is noticed at the latest


def run_listener(settings: Settings) -> None:
    """Receive instances until SIGTERM, then complete the transfers in progress."""
    stopping = stop_event()
    with (
        closing(Notifier(redis_url(settings))) as notifier,
        open_stores(settings) as (ledger, spool),
        spans_exported(settings.tracing, "listener"),
    ):
        progress = Progress()
        shared = shared_listening()
        listener = Listener(
            settings,
            spool,
            ledger,
            lambda: notifier.notify(INFER),
            touch=partial(progress.touch, "accept"),
            sharing=Sharing.parse(shared) if shared is not None else None,
        )
        listener.start()
        with HeartbeatSender(ledger, "listener", lambda: not stopping.is_set(), progress):
            with progress.working("accept", settings.stuck_seconds):
                while not stopping.wait(_NOTICE_SECONDS):
                    pass  # a signal that another thread of the process took does not wake this one
            listener.drain(settings.drain_seconds)
