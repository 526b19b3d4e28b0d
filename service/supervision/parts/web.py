"""The web server, as one process."""

from contextlib import closing
from typing import Final

from service.decoding import DecoderPool, Template
from service.decoding.pictures import PictureConverter
from service.decoding.radiograph import Radiographs
from service.decoding.web_handler import WebHandler
from service.dispatch.notifier import Notifier
from service.domain.queues import INFER
from service.receiving.ingest import Ingest
from service.settings import Settings
from service.storage.opening import open_stores, redis_url
from service.supervision.notice import print_first_user_notice
from service.telemetry.heartbeat import HeartbeatSender
from service.telemetry.progress import Progress
from service.telemetry.tracing.starting import spans_exported
from service.web.serve import serve

_DECODERS: Final = 2  # pictures and radiographs at once, and one more that takes long
_PATIENCE: Final = 5.0  # seconds that a request waits for one of them


def run_web(settings: Settings) -> None:
    """Serve pages, API, health and metrics until SIGTERM."""
    with (
        closing(Template(WebHandler())) as template,  # before the first thread
        closing(DecoderPool(template, settings.decoding, _DECODERS)) as pool,
        closing(Notifier(redis_url(settings))) as notifier,
        open_stores(settings) as (ledger, spool),
        spans_exported(settings.tracing, "web"),
    ):
        ingest = Ingest(spool, ledger, lambda: notifier.notify(INFER))
        pictures = PictureConverter(pool, patience=_PATIENCE)
        radiographs = Radiographs(pool, patience=_PATIENCE)
        progress = Progress()
        print_first_user_notice(settings, ledger)
        with HeartbeatSender(ledger, "web", lambda: True, progress):
            serve(settings, ledger, spool, ingest, pictures, radiographs, progress)
