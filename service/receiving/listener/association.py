"""Accept connections and run each one's association, until it ends or the listener drains."""

import socket
import ssl
import sys
import threading
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any, Final, cast

import structlog
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, A_RELEASE
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from service.dicom.association_pdus import Refusal, calling_ae_title
from service.dicom.secure_transport import peer_certificate
from service.receiving.listener.dimse_provider import DimseProvider, ServiceHandlers
from service.receiving.listener.refusals import Refused, record_rejection
from service.receiving.listener.socket_options import tune
from service.receiving.listener.tls import shake_hands
from service.receiving.listener.upper_layer import NOTHING, UpperLayer
from service.receiving.senders import Caller, Mismatch, SenderRules
from service.telemetry.metrics import ASSOCIATIONS, ASSOCIATIONS_OPEN

CONNECTIONS_PER_ASSOCIATION: Final = 2
"""Connections beyond the limit of associations are read, to be rejected properly (PS3.8 9.3.4);
beyond this many times the limit they are closed at once."""

_TICK_SECONDS: Final = 1.0
_REJECTED_FOR: Final = {  # (source, diagnostic) of PS3.8 table 9-21
    (1, 3): Refused.CALLING_AE_TITLE,
    (1, 7): Refused.CALLED_AE_TITLE,
    (3, 2): Refused.LIMIT,
}
_KEPT_OUT_FOR: Final = {
    Mismatch.AE_TITLE: Refused.CALLING_AE_TITLE,
    Mismatch.ADDRESS: Refused.SENDER_ADDRESS,
    Mismatch.CERTIFICATE: Refused.SENDER_CERTIFICATE,
}

log = structlog.get_logger()


class StoreAssociation(Association):
    """An accepted association; it ends when the peer releases it or the listener drains."""

    def __init__(
        self,
        entity: AE,
        handlers: ServiceHandlers,
        stopping: threading.Event,
        senders: SenderRules | None = None,
    ) -> None:
        super().__init__(entity, "acceptor")
        self.dimse: DimseProvider = DimseProvider(self, handlers, stopping)
        self.dul: UpperLayer = UpperLayer(self, self.dimse, self._sender_refusal)
        self._senders = senders
        self.acse_timeout = entity.acse_timeout  # these two set the new upper layer's timers
        self.network_timeout = entity.network_timeout
        self._stopping = stopping
        self.connection: socket.socket | None = None

    def run_reactor(self) -> None:
        """Negotiate and serve, until the upper layer has ended too."""
        if self._stopping.is_set():  # set after the drain has listed the associations to wake
            self.dul.disconnect()
        try:
            if self._is_secured():
                super().run_reactor()
        except Exception as exc:  # pynetdicom, on a request that it cannot negotiate
            log.warning("association_failed", exc_info=exc)
            self.dul.disconnect()
        finally:
            if self.dul.ident is not None:  # it was started
                self.dul.join()
            self.dul.close()
            if self.connection is not None:  # pynetdicom leaves one open that its peer reset
                self.connection.close()
        if self.is_rejected:
            self._record_rejection()

    def _is_secured(self) -> bool:
        """Perform the handshake of a connection with TLS; return whether it can be used."""
        if not isinstance(self.connection, ssl.SSLSocket):
            return True
        why = shake_hands(self.connection, self.acse_timeout or 30)
        if why is not None and not self._stopping.is_set():
            record_rejection(why, self._address())
        return why is None

    def _sender_refusal(self, request: bytes) -> Refusal | None:
        """Return why an A-ASSOCIATE-RQ is rejected for who sends it; None if it is not."""
        if self._senders is None:
            return None
        connection = self.connection
        secured = connection if isinstance(connection, ssl.SSLSocket) else None
        mismatch = self._senders.mismatch(
            Caller(
                ae_title=calling_ae_title(request),
                address=self._address() or "",
                certificate=peer_certificate(secured) if secured is not None else None,
            )
        )
        return Refusal(1, 1, 3, _KEPT_OUT_FOR[mismatch]) if mismatch is not None else None

    def _address(self) -> str | None:
        address = self.requestor.address_info
        return address.address if address else None

    def wake_to_drain(self) -> None:
        """End the association as soon as no message is in progress; disconnect one not yet made."""
        if self.is_established:
            self.dul.to_user_queue.put(NOTHING)
        else:
            self.dul.disconnect()

    def _run_reactor(self) -> None:
        """Wait for the end of the association; messages are handled in the upper layer's thread."""
        with ASSOCIATIONS_OPEN.track_inprogress():
            while self.is_established and self.dul.is_alive():
                primitive = self.dul.receive_pdu(wait=True, timeout=_TICK_SECONDS)
                if isinstance(primitive, A_RELEASE):
                    self._send_release_response()
                elif isinstance(primitive, A_ABORT | A_P_ABORT):
                    self.is_established = False
                elif self.dul.idle_timer_expired() or self.dimse.is_drained:
                    self.abort()
            self.kill()
        ASSOCIATIONS.labels(outcome="released" if self.is_released else "aborted").inc()

    def _send_release_response(self) -> None:
        self.acse.send_release(is_response=True)
        self.is_released = True
        self.is_established = False

    def _record_rejection(self) -> None:
        ASSOCIATIONS.labels(outcome="rejected").inc()
        response = cast("A_ASSOCIATE", self.acceptor.primitive)
        source = (response.result_source or 0, response.diagnostic or 0)
        record_rejection(_REJECTED_FOR.get(source, Refused.OTHER), self._address())


class Connection(RequestHandler):
    """An accepted connection, for which an association is created."""

    server: "Server"

    def _create_association(self) -> StoreAssociation:
        entity, server = self.ae, self.server
        connection = self.request
        if server.tls is not None:  # the handshake is the association's, in its own thread
            connection = server.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        association = StoreAssociation(entity, server.handlers, server.stopping, server.senders)
        association.name = f"AcceptorThread@{self.client_address[1]}"  # pynetdicom counts by name
        association._server = self.server  # noqa: SLF001 -- as in the method this replaces
        association.connection = connection
        association.set_socket(AssociationSocket(association, client_socket=connection))
        association.acceptor.maximum_length = entity.maximum_pdu_size
        association.acceptor.ae_title = self.server.ae_title
        association.acceptor.address_info = self.local
        association.acceptor.implementation_class_uid = entity.implementation_class_uid
        association.acceptor.implementation_version_name = entity.implementation_version_name
        association.acceptor.supported_contexts = self.server.contexts
        association.requestor.address_info = self.remote
        return association


class Server(ThreadedAssociationServer):
    """A listening socket; `tls` may be replaced, for the connections that follow."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        entity: AE,
        address: tuple[str, int],
        handlers: ServiceHandlers,
        touch: Callable[[], None],
        *,
        tls: ssl.SSLContext | None = None,
        senders: SenderRules | None = None,
    ) -> None:
        self.handlers = handlers
        self.tls = tls
        self.senders = senders
        self.stopping = threading.Event()
        self.touch = touch
        super().__init__(
            entity,
            address,
            entity.ae_title,
            entity.supported_contexts,
            request_handler=Connection,
        )

    def service_actions(self) -> None:
        """Record that the loop which accepts connections goes round."""
        super().service_actions()
        self.touch()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection and set its socket options."""
        connection, address = super().get_request()
        tune(connection, silence_seconds=self.ae.network_timeout or 60)
        return connection, address

    def verify_request(self, request: object, client_address: tuple[Any, ...]) -> bool:
        """Return whether there are fewer connections than the limit for all of them."""
        del request
        limit = CONNECTIONS_PER_ASSOCIATION * self.ae.maximum_associations
        if len(self.active_associations) < limit:
            return True
        record_rejection(Refused.CONNECTION_LIMIT, str(client_address[0]))
        return False

    def handle_error(self, request: object, client_address: object) -> None:
        """Log a failed connection, instead of printing it."""
        del request, client_address
        log.warning("connection_failed", exc_info=sys.exception())

    def shutdown(self) -> None:
        """Accept no more, and end each association after the message in progress."""
        self.stopping.set()
        BaseServer.shutdown(self)
        self.server_close()
        for association in self.associations():
            association.wake_to_drain()

    def associations(self) -> list[StoreAssociation]:
        """List the associations, those still being negotiated included."""
        return [each for each in self.active_associations if isinstance(each, StoreAssociation)]
