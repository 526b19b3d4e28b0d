"""Accept connections and receive their requests, all in one thread; then begin associations.

A connection has no thread of its own before its A-ASSOCIATE-RQ is whole, so thousands that say
nothing cost a socket each. They are bounded, and the oldest makes room for the newest.
"""

import contextlib
import errno
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from service.dicom.association_pdus import MalformedError, Refusal
from service.receiving.listener.association import Acceptor, StoreAssociation
from service.receiving.listener.connections.admission import NO_ROOM, Admission
from service.receiving.listener.connections.limits import Requestor
from service.receiving.listener.connections.pending import ABORT, PendingConnection
from service.receiving.listener.connections.waiting import WaitingConnections
from service.receiving.listener.refusals import (
    ProtocolError,
    Refused,
    reason_of,
    record_abort,
    record_rejection,
)
from service.receiving.listener.tls import handshake_refusal
from service.receiving.listening import ListeningSocket
from service.telemetry.metrics import ASSOCIATIONS, CONNECTIONS_WAITING

_ACCEPTED_AT_ONCE: Final = 64  # before the requests that arrived meanwhile are looked at
_YIELD_SECONDS: Final = 0.002
_IDLE_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 0.25
_LINGER_SECONDS: Final = 2.0  # for a peer to read our last PDU and to close
_PAUSE_SECONDS: Final = 0.25
_QUIET_SECONDS: Final = 60.0  # without exhaustion, before it is logged again
_GIVEN_UP_WHEN_EXHAUSTED: Final = 8  # one of so many waiting connections
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = structlog.get_logger()


class Server:
    """The listening sockets, the connections without an association, and the associations.

    Args:
        acceptor: what each association is made of.
        listening: the sockets to accept from; they are closed at the end.
        admission: which requests are accepted.
        request_seconds: how long a connection may take until its request is whole.
        maximum_connections: how many connections may be without an association.
        touch: is called whenever the loop goes round.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        listening: Sequence[ListeningSocket],
        admission: Admission,
        *,
        request_seconds: float,
        maximum_connections: int,
        touch: Callable[[], None],
    ) -> None:
        self._acceptor = acceptor
        self._admission = admission
        self._request_seconds = request_seconds
        self._touch = touch
        self._waiting = WaitingConnections(maximum_connections)
        self._associations: set[StoreAssociation] = set()
        self._changing = threading.Lock()
        self._paused_until: float | None = None
        self._quiet_until = 0.0
        self._swept = 0.0
        self._listening = tuple(listening)
        self._selector = selectors.DefaultSelector()
        self._listen()
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="listener", daemon=True)

    def start(self) -> None:
        """Accept connections, in a thread."""
        self._thread.start()

    def shutdown(self) -> None:
        """Accept no more, and end each association after the message in progress."""
        if not self._acceptor.stopping.is_set():
            self._acceptor.stopping.set()
            os.eventfd_write(self._woken, 1)
            self._thread.join()
            os.close(self._woken)
        for association in self.associations():
            association.wake_to_drain()

    def associations(self) -> list[StoreAssociation]:
        """List the associations, those still being negotiated included."""
        with self._changing:
            return list(self._associations)

    def waiting(self) -> int:
        """Return how many connections have no association."""
        return len(self._waiting)

    def _serve(self) -> None:
        try:
            while not self._acceptor.stopping.is_set():
                self._go_round()
                self._touch()
        finally:
            self._close()

    def _go_round(self) -> None:
        waits = len(self._waiting) or self._paused_until is not None
        arrived: list[ListeningSocket] = []
        for key, _events in self._selector.select(_SWEEP_SECONDS if waits else _IDLE_SECONDS):
            if isinstance(key.data, PendingConnection):
                self._go_on(key.data)
            elif isinstance(key.data, ListeningSocket):
                arrived.append(key.data)
        for listening in arrived:
            if self._paused_until is None:  # the one before has used up the descriptors
                self._accept(listening)
        self._sweep(time.monotonic())
        CONNECTIONS_WAITING.set(len(self._waiting))

    def _listen(self) -> None:
        for each in self._listening:
            self._selector.register(each.socket, selectors.EVENT_READ, each)

    def _accept(self, listening: ListeningSocket) -> None:
        """Accept what has arrived; of a socket that others share one, and after those with fewer.

        A listener that runs and has fewer associations accepts in the time that this one leaves.
        """
        if listening.is_shared and self._admission.is_ahead():
            time.sleep(_YIELD_SECONDS)
        for _ in range(1 if listening.is_shared else _ACCEPTED_AT_ONCE):
            try:
                connection, address = listening.socket.accept()
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno in _EXHAUSTED:
                    self._pause(exc)
                    return
                continue  # the peer was gone before it was accepted
            self._begin(connection, address, listening.tls)

    def _begin(
        self, connection: socket.socket, address: tuple[Any, ...], tls: ssl.SSLContext | None
    ) -> None:
        try:
            until = time.monotonic() + self._request_seconds
            pending = PendingConnection(connection, address, until, tls)
            self._selector.register(pending.connection, selectors.EVENT_READ, pending)
        except (OSError, ValueError) as exc:
            log.warning("connection_failed", exc_info=exc)
            connection.close()
            return
        self._waiting.add(pending)
        while (least_wanted := self._waiting.to_make_room()) is not None:
            self._refuse(least_wanted, Refused.CONNECTION_LIMIT)
        if pending.connection.fileno() >= 0:
            self._go_on(pending)  # most requests are there already

    def _go_on(self, pending: PendingConnection) -> None:
        """Receive what a connection has sent, and act upon it."""
        try:
            if pending.is_ending:
                if pending.discard():
                    self._drop(pending)
                return
            request = pending.receive()
            if request is None:
                self._wait_for(pending)
            else:
                self._judge(pending, request)
        except OSError as exc:
            if pending.has_begun_handshake:
                self._refuse(pending, handshake_refusal(exc), exc)
            else:
                self._drop(pending)
        except (ProtocolError, MalformedError) as exc:
            record_abort(reason_of(exc), pending.host, exc)
            self._end(pending, ABORT)
        except Exception as exc:  # one connection must not end the loop for all
            log.warning("connection_failed", exc_info=exc)
            self._drop(pending)

    def _wait_for(self, pending: PendingConnection) -> None:
        """Wait until the connection can be read, or written where its handshake needs that."""
        events = selectors.EVENT_WRITE if pending.waits_to_write else selectors.EVENT_READ
        if self._selector.get_key(pending.connection).events != events:
            self._selector.modify(pending.connection, events, pending)

    def _judge(self, pending: PendingConnection, request: bytes) -> None:
        admitted = self._admission.admit(request, pending)
        if isinstance(admitted, Refusal):
            self._reject(pending, admitted)
            return
        try:
            self._associate(pending, request, admitted)
        except (OSError, RuntimeError) as exc:  # no descriptor, no thread, or the peer is gone
            log.warning("connection_failed", exc_info=exc)
            self._admission.give_back(admitted)
            self._reject(pending, NO_ROOM)

    def _associate(self, pending: PendingConnection, request: bytes, counted: Requestor) -> None:
        """Begin an association in threads of its own; it ends by itself.

        Raises:
            OSError: there is no descriptor for it.
            RuntimeError: there is no thread for it.
        """

        def ended() -> None:
            with self._changing:
                self._associations.discard(association)
            self._admission.give_back(counted)

        self._selector.unregister(pending.connection)
        try:
            association = StoreAssociation(
                self._acceptor, pending.connection, pending.address, request, ended
            )
            with self._changing:
                self._associations.add(association)
            try:
                association.start()
            except RuntimeError:
                with self._changing:
                    self._associations.discard(association)
                association.dul.close()
                raise
        except (OSError, RuntimeError):
            pending.connection.settimeout(0)
            self._selector.register(pending.connection, selectors.EVENT_READ, pending)
            raise
        self._waiting.remove(pending)

    def _reject(self, pending: PendingConnection, why: Refusal) -> None:
        record_rejection(Refused(why.reason), pending.host)
        ASSOCIATIONS.labels(outcome="rejected").inc()
        self._end(pending, why.pdu)

    def _end(self, pending: PendingConnection, reply: bytes) -> None:
        """Send a last PDU, and close once the peer has closed or its time is over."""
        self._waiting.begin_to_end(pending)
        try:
            pending.end(reply, time.monotonic() + _LINGER_SECONDS)
            self._wait_for(pending)
        except OSError:
            self._drop(pending)

    def _refuse(
        self, pending: PendingConnection, reason: Refused, error: Exception | None = None
    ) -> None:
        """Close a connection without a word: it has not said any, or has had its reply."""
        if not pending.is_ending:
            record_rejection(reason, pending.host)
            if error is not None:
                log.debug("connection_refused", exc_info=error)
        self._drop(pending)

    def _drop(self, pending: PendingConnection) -> None:
        self._forget(pending)
        pending.close()

    def _forget(self, pending: PendingConnection) -> None:
        self._waiting.remove(pending)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(pending.connection)

    def _sweep(self, now: float) -> None:
        """Close the connections whose time is over, and accept again after a pause."""
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None
            self._listen()
        if now < self._swept + _SWEEP_SECONDS:
            return
        self._swept = now
        for pending in self._waiting.expired(now):
            is_late_in_tls = pending.is_handshaking
            self._refuse(pending, Refused.TLS_TIMEOUT if is_late_in_tls else Refused.NO_REQUEST)
        while (largest := self._waiting.too_many_bytes()) is not None:
            self._refuse(largest, Refused.CONNECTION_LIMIT)

    def _pause(self, error: OSError) -> None:
        """Stop accepting for a moment: descriptors are exhausted, and may be needed elsewhere."""
        now = time.monotonic()
        if now >= self._quiet_until:
            log.error("descriptors_exhausted", exc_info=error)
        self._quiet_until = now + _QUIET_SECONDS
        for _ in range(1 + len(self._waiting) // _GIVEN_UP_WHEN_EXHAUSTED):
            least_wanted = self._waiting.least_wanted()
            if least_wanted is not None:
                self._refuse(least_wanted, Refused.CONNECTION_LIMIT)
        for each in self._listening:
            self._selector.unregister(each.socket)
        self._paused_until = now + _PAUSE_SECONDS

    def _close(self) -> None:
        for pending in list(self._waiting):
            self._drop(pending)
        CONNECTIONS_WAITING.set(0)
        self._selector.close()
        for each in self._listening:
            each.close()
