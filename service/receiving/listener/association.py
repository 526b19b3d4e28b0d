"""The association of one accepted connection, until it ends or the listener drains."""

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, A_RELEASE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from service.receiving.listener.connections.accepted_socket import AcceptedSocket
from service.receiving.listener.connections.time_limits import TimeLimits
from service.receiving.listener.dimse_provider import DimseProvider, ServiceHandlers
from service.receiving.listener.refusals import Refused, record_rejection
from service.receiving.listener.socket_options import tune
from service.receiving.listener.upper_layer import NOTHING, UpperLayer
from service.telemetry.metrics import ASSOCIATIONS, ASSOCIATIONS_OPEN

_TICK_SECONDS: Final = 1.0
_REJECTED_FOR: Final = {  # (source, diagnostic) of PS3.8 table 9-21
    (1, 3): Refused.CALLING_AE_TITLE,
    (1, 7): Refused.CALLED_AE_TITLE,
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptor:
    """What the associations of a listener have in common."""

    entity: AE
    contexts: Sequence[PresentationContext]
    handlers: ServiceHandlers
    limits: TimeLimits
    stopping: threading.Event


class StoreAssociation(Association):
    """An accepted association; it ends when the peer releases it or the listener drains.

    Args:
        acceptor: what it has in common with the others.
        connection: the connection on which it was requested.
        address: the peer's address, as the socket module writes it.
        request: the A-ASSOCIATE-RQ.
        ended: is called when its threads have ended and nothing of it is left.

    Raises:
        OSError: there is no descriptor for it.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        connection: socket.socket,
        address: tuple[Any, ...],
        request: bytes,
        ended: Callable[[], None],
    ) -> None:
        super().__init__(acceptor.entity, "acceptor")
        limits = acceptor.limits
        self._connection = connection
        self._introduce(acceptor, address)
        tune(connection, silence_seconds=limits.silence_seconds)
        self.name = f"AcceptorThread@{address[1]}"
        self.dimse: DimseProvider = DimseProvider(self, acceptor.handlers, acceptor.stopping)
        self.dul: UpperLayer = UpperLayer(self, self.dimse, limits, request)
        self.acse_timeout = acceptor.entity.acse_timeout  # these two set the upper layer's timers
        self.network_timeout = limits.silence_seconds
        self.dul.artim_timer.timeout = limits.artim_seconds
        self._stopping = acceptor.stopping
        self._ended = ended
        self.set_socket(AcceptedSocket(self, connection, str(address[0]), limits.silence_seconds))

    def _introduce(self, acceptor: Acceptor, address: tuple[Any, ...]) -> None:
        """Set what is known of both ends before negotiation."""
        entity = acceptor.entity
        self.requestor.address_info = AddressInformation.from_tuple(address)
        self.acceptor.address_info = AddressInformation.from_tuple(self._connection.getsockname())
        self.acceptor.ae_title = entity.ae_title
        self.acceptor.maximum_length = entity.maximum_pdu_size
        self.acceptor.implementation_class_uid = entity.implementation_class_uid
        self.acceptor.implementation_version_name = entity.implementation_version_name
        self.acceptor.supported_contexts = list(acceptor.contexts)

    def run_reactor(self) -> None:
        """Negotiate and serve, until the upper layer has ended too."""
        if self._stopping.is_set():  # set after the drain has listed the associations to wake
            self.dul.disconnect()
        try:
            super().run_reactor()
        except Exception as exc:  # pynetdicom, on a request that it cannot negotiate
            log.warning("association_failed", exc_info=exc)
            self.dul.disconnect()
        finally:
            if self.dul.ident is not None:  # it was started
                self.dul.join()
            self.dul.close()
            self._connection.close()  # pynetdicom leaves one open that its peer reset
            self._ended()
        if self.is_rejected:
            self._record_rejection()

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
        address = self.requestor.address_info
        reason = _REJECTED_FOR.get(source, Refused.OTHER)
        record_rejection(reason, address.address if address else None)
