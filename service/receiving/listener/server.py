"""The listener: start, drain and close it."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import structlog

from service.receiving.ingest import Ingest
from service.receiving.listener.application_entity import application_entity
from service.receiving.listener.association import Acceptor
from service.receiving.listener.c_store import CStoreHandler
from service.receiving.listener.connections.accepting import Server
from service.receiving.listener.connections.admission import Admission
from service.receiving.listener.connections.descriptors import reserve_descriptors
from service.receiving.listener.connections.limits import AssociationLimits
from service.receiving.listener.connections.time_limits import TimeLimits
from service.receiving.listener.dimse_provider import ServiceHandlers
from service.receiving.listener.storage_commitment import StorageCommitmentHandler
from service.settings import ConfigurationError, Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.telemetry.structured_log import silence_pynetdicom

_POLL_SECONDS: Final = 0.1
_DISCONNECT_SECONDS: Final = 5  # for what is in progress between spool and ledger

log = structlog.get_logger()


class Listener:
    """A DICOM server (C-ECHO, C-STORE, storage commitment) in threads of this process.

    The response to a C-STORE is Success only once the instance is durable in spool and ledger;
    `notify` is called then, and must return at once. `touch` is called whenever the loop which
    accepts connections goes round.

    Raises:
        ConfigurationError: any machine could store, and no setting allows that.
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
            known_ae_titles=settings.dicom.allowed_calling_ae_titles,
            urgent_ae_titles=settings.dicom.urgent_calling_ae_titles,
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
        self._server: Server | None = None

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
        """The port that it listens on."""
        return int(self._started().server_address[1])

    def start(self) -> None:
        """Listen; returns at once.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        silence_pynetdicom()
        address = (self._dicom.host, self._dicom.port)
        try:
            self._server = self._create_server(address)
        except OSError as exc:
            raise ConfigurationError(
                f"The listener cannot use dicom.host {address[0]} and dicom.port {address[1]}: "
                f"{exc.strerror or exc}."
            ) from exc
        self._server.start()
        log.info("listening", ae_title=self._dicom.ae_title, host=address[0], port=self.port)

    def drain(self, seconds: float) -> None:
        """Accept no more, let the messages in progress end within `seconds`, then disconnect."""
        server = self._started()
        server.shutdown()
        _wait_for(server, seconds)
        for association in server.associations():
            association.dul.disconnect()
        _wait_for(server, _DISCONNECT_SECONDS)

    def _create_server(self, address: tuple[str, int]) -> Server:
        dicom = self._dicom
        limits = TimeLimits(
            artim_seconds=dicom.artim_seconds,
            silence_seconds=dicom.network_seconds,
            message_seconds=dicom.message_seconds,
            bytes_per_second=dicom.minimum_bytes_per_second,
        )
        acceptor = Acceptor(
            entity=self._entity,
            contexts=self._entity.supported_contexts,
            handlers=self._handlers,
            limits=limits,
            stopping=threading.Event(),
        )
        return Server(
            acceptor,
            address,
            Admission(self._entity, AssociationLimits(dicom)),
            request_seconds=dicom.artim_seconds,
            maximum_connections=reserve_descriptors(dicom),
            touch=self._touch,
        )

    def _started(self) -> Server:
        if self._server is None:
            raise RuntimeError("the listener was not started")
        return self._server


def _wait_for(server: Server, seconds: float) -> None:
    until = time.monotonic() + seconds
    while server.associations() and time.monotonic() < until:
        time.sleep(_POLL_SECONDS / 4)
