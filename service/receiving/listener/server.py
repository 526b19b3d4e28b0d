"""The listener: start, drain and close it."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import structlog

from service.receiving.ingest import Ingest
from service.receiving.listener.application_entity import application_entity
from service.receiving.listener.association import Acceptor, StoreAssociation
from service.receiving.listener.c_store import CStoreHandler
from service.receiving.listener.connections.accepting import Server
from service.receiving.listener.connections.admission import Admission
from service.receiving.listener.connections.callers import rule_of_senders
from service.receiving.listener.connections.descriptors import reserve_descriptors
from service.receiving.listener.connections.limits import AssociationLimits
from service.receiving.listener.connections.time_limits import TimeLimits
from service.receiving.listener.dimse_provider import ServiceHandlers
from service.receiving.listener.storage_commitment import StorageCommitmentHandler
from service.receiving.listener.tls import RELOAD_SECONDS, ListenerTls, open_tls
from service.receiving.listening import ListeningSocket, listening_addresses
from service.receiving.senders import sender_rules
from service.receiving.shared_listening import Sharing, inherited_sockets
from service.settings import Settings
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
    accepts connections goes round. `sharing` is what other listeners of this machine have too.

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
        sharing: Sharing | None = None,
    ) -> None:
        self._dicom = settings.dicom
        self._sharing = sharing
        self._entity = application_entity(settings.dicom)
        ingest = Ingest(
            spool,
            ledger,
            notify,
            inflated_bytes=settings.dicom.maximum_instance_bytes,
            known_ae_titles=settings.dicom.known_calling_ae_titles,
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
        self._tls = open_tls(settings.dicom)
        self._listening: list[ListeningSocket] = []
        self._server: Server | None = None
        self._draining = threading.Event()

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
        return self._port(0)

    @property
    def tls_port(self) -> int:
        """The port that it listens on for associations over TLS."""
        return self._port(-1)

    def start(self) -> None:
        """Listen; returns at once.

        Raises:
            PortInUseError: another process listens on an address.
            ConfigurationError: an address cannot be listened on.
        """
        silence_pynetdicom()
        try:
            self._listen()
            self._server = self._create_server()
        except BaseException:
            self._draining.set()
            for each in self._listening:
                each.close()
            raise
        self._server.start()
        for each in self._listening:
            log.info(
                "listening",
                ae_title=self._dicom.ae_title,
                host=each.address[0],
                port=each.address[1],
                tls=each.tls is not None,
            )

    def drain(self, seconds: float) -> None:
        """Accept no more, let the messages in progress end within `seconds`, then disconnect."""
        server = self._started()
        self._draining.set()
        server.shutdown()
        _wait_for(server, seconds)
        for association in server.associations():
            association.dul.disconnect()
        _wait_for(server, _DISCONNECT_SECONDS)

    def associations(self) -> list[StoreAssociation]:
        """List the associations, those still being negotiated included."""
        return self._started().associations()

    def _listen(self) -> None:
        inherited = inherited_sockets(self._sharing)
        for address in listening_addresses(self._dicom):  # which may have changed since
            tls = self._tls if address.is_tls else None
            listening = ListeningSocket(
                address, tls.context if tls is not None else None, inherited.get(address.port)
            )
            self._listening.append(listening)
            if tls is not None:
                threading.Thread(
                    target=self._renew, args=(listening, tls), name="listener-tls", daemon=True
                ).start()

    def _renew(self, listening: ListeningSocket, tls: ListenerTls) -> None:
        """Take changed certificates for the connections that follow, until the listener drains."""
        while not self._draining.wait(RELOAD_SECONDS):
            if tls.refresh():
                listening.tls = tls.context

    def _create_server(self) -> Server:
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
        senders = sender_rules(dicom)
        rules = (rule_of_senders(senders),) if senders is not None else ()
        return Server(
            acceptor,
            self._listening,
            Admission(self._entity, AssociationLimits(dicom, self._sharing), rules),
            request_seconds=dicom.artim_seconds,
            maximum_connections=reserve_descriptors(dicom),
            touch=self._touch,
        )

    def _port(self, index: int) -> int:
        self._started()
        return int(self._listening[index].address[1])

    def _started(self) -> Server:
        if self._server is None:
            raise RuntimeError("the listener was not started")
        return self._server


def _wait_for(server: Server, seconds: float) -> None:
    until = time.monotonic() + seconds
    while server.associations() and time.monotonic() < until:
        time.sleep(_POLL_SECONDS / 4)
