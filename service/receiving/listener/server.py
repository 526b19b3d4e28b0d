"""The listener: start, drain and close it."""

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

import structlog

from service.receiving.ingest import Ingest
from service.receiving.listener.application_entity import application_entity
from service.receiving.listener.association import Server, StoreAssociation
from service.receiving.listener.c_store import CStoreHandler
from service.receiving.listener.dimse_provider import ServiceHandlers
from service.receiving.listener.storage_commitment import StorageCommitmentHandler
from service.receiving.listener.tls import RELOAD_SECONDS, ListenerTls, open_tls
from service.receiving.senders import sender_rules
from service.settings import ConfigurationError, Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.telemetry.structured_log import silence_pynetdicom

_POLL_SECONDS: Final = 0.1
_DISCONNECT_SECONDS: Final = 5  # for what is in progress between spool and ledger
_PLAIN: Final = ("dicom.host", "dicom.port")

log = structlog.get_logger()


class Listener:
    """A DICOM server (C-ECHO, C-STORE, storage commitment) in threads of this process.

    The response to a C-STORE is Success only once the instance is durable in spool and ledger;
    `notify` is called then, and must return at once. `touch` is called whenever the loop which
    accepts connections goes round.

    Raises:
        ConfigurationError: any machine could store, and no setting allows that; or a file of TLS
            cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        ledger: Ledger,
        notify: Callable[[], None],
        *,
        touch: Callable[[], None] = lambda: None,
    ) -> None:
        self._dicom = settings.dicom
        self._entity = application_entity(settings.dicom)
        ingest = Ingest(
            spool,
            ledger,
            notify,
            inflated_bytes=settings.dicom.maximum_instance_bytes,
            known_ae_titles=settings.dicom.known_calling_ae_titles,
        )
        store = CStoreHandler(
            spool=spool,
            ingest=ingest,
            maximum_instance_bytes=settings.dicom.maximum_instance_bytes,
        )
        self._handlers = ServiceHandlers(
            store=store, commitment=StorageCommitmentHandler(settings, spool, ledger)
        )
        self._touch = touch
        self._tls = open_tls(settings.dicom)
        self._senders = sender_rules(settings.dicom)
        self._servers: list[Server] = []
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.drain(0)

    @property
    def port(self) -> int:
        """The port that it listens on; of two, the one without TLS."""
        return int(self._started()[0].server_address[1])

    @property
    def tls_port(self) -> int:
        """The port that it listens on for associations over TLS."""
        return int(self._started()[-1].server_address[1])

    def start(self) -> None:
        """Listen; returns at once.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        silence_pynetdicom()
        dicom = self._dicom
        if dicom.plain_address is not None:
            self._listen(dicom.plain_address, None)
        if dicom.tls_address is not None and self._tls is not None:
            self._listen(dicom.tls_address, self._tls)

    def drain(self, seconds: float) -> None:
        """Accept no more, let the messages in progress end within `seconds`, then disconnect."""
        servers = self._started()
        self._closing.set()
        for server in servers:
            server.shutdown()
        _wait_for(servers, seconds)
        for association in _associations(servers):
            association.dul.disconnect()
        _wait_for(servers, _DISCONNECT_SECONDS)

    def associations(self) -> list[StoreAssociation]:
        """List the associations, those still being negotiated included."""
        return _associations(self._started())

    def _listen(self, address: tuple[str, int], tls: ListenerTls | None) -> None:
        context = tls.context if tls is not None else None
        try:
            server = Server(
                self._entity,
                address,
                self._handlers,
                self._touch,
                tls=context,
                senders=self._senders,
            )
        except OSError as exc:
            host, port = ("dicom.tls_host", "dicom.tls_port") if tls else _PLAIN
            raise ConfigurationError(
                f"The listener cannot use {host} {address[0]} and {port} {address[1]}: "
                f"{exc.strerror or exc}."
            ) from exc
        self._servers.append(server)
        threading.Thread(
            target=server.serve_forever, args=(_POLL_SECONDS,), name="listener", daemon=True
        ).start()
        if tls is not None:
            threading.Thread(
                target=self._renew, args=(server, tls), name="listener-tls", daemon=True
            ).start()
        log.info(
            "listening",
            ae_title=self._dicom.ae_title,
            host=address[0],
            port=int(server.server_address[1]),
            tls=tls is not None,
        )

    def _renew(self, server: Server, tls: ListenerTls) -> None:
        """Take changed certificates for the connections that follow, until the listener drains."""
        while not self._closing.wait(RELOAD_SECONDS):
            if tls.refresh():
                server.tls = tls.context

    def _started(self) -> list[Server]:
        if not self._servers:
            raise RuntimeError("the listener was not started")
        return self._servers


def _associations(servers: Sequence[Server]) -> list[StoreAssociation]:
    return [association for server in servers for association in server.associations()]


def _wait_for(servers: Sequence[Server], seconds: float) -> None:
    until = time.monotonic() + seconds
    while _associations(servers) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS / 4)
