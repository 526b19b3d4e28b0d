"""pynetdicom's upper layer, with its waiting and reading replaced.

States, timers, negotiation and sending stay pynetdicom's (PS3.8 9.2). Replaced are

- waiting: pynetdicom polls every millisecond for something to do, in two threads for each
  association; here the kernel wakes the thread;
- P-DATA: pynetdicom creates several objects, copies and queue items for each PDU; here fragments
  go from the socket through one buffer into the spool;
- bounds: pynetdicom reads as many bytes as a PDU's header claims, for as long as that takes.

pynetdicom is pinned, and tests/integration/receiving tests all of this.
"""

import contextlib
import os
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE, P_DATA

from service.dicom.association_pdus import strict_form
from service.dicom.steady_timer import SteadyTimer
from service.receiving.listener.command_set import LAST_FRAGMENT
from service.receiving.listener.connections.accepted_socket import AcceptedSocket, has_pending
from service.receiving.listener.connections.time_limits import MessagePace, TimeLimits
from service.receiving.listener.dimse_provider import DimseProvider
from service.receiving.listener.refusals import (
    Aborted,
    ProtocolError,
    StalledError,
    Violation,
    reason_of,
    record_abort,
)
from service.receiving.listener.socket_options import acknowledge_at_once

if TYPE_CHECKING:
    from pynetdicom.association import Association

LONGEST_PDU: Final = 1 << 18  # bytes; other than P-DATA, which is never held as a whole
PIECE_BYTES: Final = 1 << 17  # of P-DATA, read and written in one step
HEADS_BYTES: Final = 12  # of a P-DATA-TF PDU and its first fragment, received with what precedes
_MANY_BYTES: Final = 1 << 16  # the kernel acknowledges most of so many by itself
SHORT_BYTES: Final = 512  # a command set with its heads, received at once

NOTHING: Final = cast("A_ASSOCIATE", None)
"""Ends the association's wait for a primitive, as a timeout would."""

_P_DATA_TF: Final = 0x04  # PS3.8 9.3
_PDU_TYPES: Final = range(0x01, 0x08)
_PDU_HEAD: Final = struct.Struct(">BxL")  # PS3.8 9.3.1
_PDV_HEAD: Final = struct.Struct(">LBB")  # PS3.8 9.3.5.1, E.2
_PDV_START: Final = struct.Struct(">LB")  # before a fragment that begins with its control header
_LENGTH_BYTES: Final = 4  # of a fragment, which do not count in it
_CONTEXT_ID_BYTES: Final = 1  # which count
_PDV_COUNTED: Final = 2  # bytes of the head that its length counts: context id, control header
_WAIT_SECONDS: Final = 1.0
_IDLE_SECONDS: Final = 0.01

log = structlog.get_logger()


def p_data_tf(context_id: int, fragment: bytes) -> bytes:
    """Encode a P-DATA-TF PDU of a fragment that begins with its control header (PS3.8 9.3.5)."""
    length = len(fragment) + _CONTEXT_ID_BYTES
    head = _PDU_HEAD.pack(_P_DATA_TF, _LENGTH_BYTES + length)
    return head + _PDV_START.pack(length, context_id) + fragment


class UpperLayer(DULServiceProvider):
    """The upper layer of one accepted association, and the thread that does all of its work."""

    def __init__(
        self,
        assoc: "Association",
        messages: DimseProvider,
        limits: TimeLimits,
        request: bytes,
    ) -> None:
        super().__init__(assoc)
        self._messages = messages
        self._pace = MessagePace(limits)
        # not read yet; at first, what was received before the association began
        self._received = memoryview(request)
        self._buffer = memoryview(bytearray(SHORT_BYTES))
        self._idle_timer = SteadyTimer(limits.silence_seconds)
        self.artim_timer = SteadyTimer(limits.artim_seconds)
        self._run_loop_delay = 0  # `_wait` waits instead
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = threading.Lock()
        self._is_closed = False
        self._is_working = False

    def run_reactor(self) -> None:
        """Run until the association has ended, then abandon a message in progress."""
        try:
            super().run_reactor()
        except Exception as exc:
            log.warning("association_failed", exc_info=exc)
        finally:
            self._messages.abandon()
            # the association's thread waits for a primitive; there will be none
            self.to_user_queue.put(NOTHING)

    def send_pdu(self, primitive: Any) -> None:  # noqa: ANN401 -- as in pynetdicom
        """Queue a primitive and wake the thread that sends it."""
        super().send_pdu(primitive)
        with self._closing:  # a closed descriptor's number may be a file's by now
            if not self._is_closed:
                os.eventfd_write(self._woken, 1)

    def send_fragment(self, context_id: int, fragment: bytes) -> None:
        """Send a fragment in a PDU of its own (PS3.8 9.3.5); from the upper layer's thread.

        At once, as action DT-1 does (table 9-10), unless something else is to be sent first.
        """
        is_next = self.state_machine.current_state == "Sta6" and not self.to_provider_queue.queue
        if is_next and self.socket is not None:
            self.socket.send(p_data_tf(context_id, fragment))
            return
        data = P_DATA()
        data.presentation_data_value_list.append((context_id, fragment))
        self.send_pdu(data)

    def idle_timer_expired(self) -> bool:
        """Return whether the peer has been silent for too long; our working time is excluded."""
        return not self._is_working and super().idle_timer_expired()

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:  # noqa: ANN401, FBT001, FBT002 -- as in pynetdicom
        """Return the next primitive for the association's thread.

        A request that could not be read in time is not waited for: without its disconnection the
        association's thread would wait for the end of this one for ever.
        """
        primitive = super().receive_pdu(wait, timeout)
        if primitive is None and self.assoc.requestor.primitive is None:
            self.disconnect()
        return primitive

    def disconnect(self) -> None:
        """Shut the connection down; a thread that waits for it wakes up."""
        if isinstance(self.socket, AcceptedSocket):
            self.socket.disconnect()

    def close(self) -> None:
        """Release the kernel's resources, once the thread has ended."""
        with self._closing:
            self._is_closed = True
            os.close(self._woken)

    def _is_transport_event(self) -> bool:
        """Read what has arrived, up to the end of a message; return whether anything has."""
        if self.state_machine.current_state == "Sta13":
            self._discard_and_close()
            return True
        has_read = False
        while self.event_queue.empty() and self._wait_for_message():
            has_read = self._is_working = True
            self._read_pdu_data()
            self._idle_timer.restart()
            self._is_working = False
            if not self._messages.is_busy:
                break
        if self.event_queue.empty():
            self._process_recv_primitive()  # send a response now, not at the next turn
        return has_read

    def _wait_for_message(self) -> bool:
        """Wait as `_wait`; within a message the time counts."""
        if not self._messages.is_busy:
            self._pace.begin()
            return self._wait()
        began = time.monotonic()
        is_ready = self._wait()
        try:
            self._pace.add(time.monotonic() - began, 0)
        except StalledError as exc:
            self._abort(exc)
            return False
        return is_ready

    def _discard_and_close(self) -> None:
        """Discard what the peer still sends, so that it can read our last PDU; then close."""
        connection = self._connection()
        with contextlib.suppress(OSError):
            if connection is not None and self.socket is not None and self.socket.ready:
                connection.settimeout(0)
                if connection.recv(PIECE_BYTES):
                    return
        if self.socket is not None:
            self.socket.close()

    def _wait(self) -> bool:
        """Wait until there is something to read (then True) or to send, or until a timeout."""
        connection = self._connection()
        is_released = self.state_machine.current_state == "Sta8"  # nothing that follows counts
        if not is_released and self._has_received(connection):
            return True
        waiting = select.poll()
        waiting.register(self._woken, select.POLLIN)
        if connection is not None and connection.fileno() >= 0 and not is_released:
            waiting.register(connection, select.POLLIN)
        seconds = _WAIT_SECONDS
        if connection is None or self.state_machine.current_state == "Sta1":
            seconds = _IDLE_SECONDS
        elif self.artim_timer.timeout is not None and self.state_machine.current_state == "Sta2":
            seconds = max(0, min(seconds, self.artim_timer.remaining))
        ready = [descriptor for descriptor, _event in waiting.poll(seconds * 1000)]
        if self._woken in ready:
            os.eventfd_read(self._woken)
            ready.remove(self._woken)
        return bool(ready)

    def _has_received(self, connection: socket.socket | None) -> bool:
        """Return whether there are bytes that the kernel does not know of."""
        return bool(self._received) or has_pending(connection)

    def _connection(self) -> socket.socket | None:
        return self.socket.socket if self.socket is not None else None

    def _read_pdu_data(self) -> None:
        """Read one PDU and queue its event (PS3.8 table 9-10)."""
        try:
            ahead = SHORT_BYTES - _PDU_HEAD.size
            kind, length = _PDU_HEAD.unpack(self._take(_PDU_HEAD.size, ahead))
            if kind == _P_DATA_TF and self.state_machine.current_state == "Sta6":
                self._read_p_data(length)
            else:
                self._read_other(kind, length)
        except OSError:
            self.event_queue.put("Evt17")  # transport connection closed
        except Exception as exc:  # noqa: BLE001 -- pynetdicom raises many kinds on a malformed PDU
            self._abort(exc)

    def _abort(self, error: Exception) -> None:
        """Abort the association, after the responses that are due (PS3.8 table 9-10)."""
        record_abort(reason_of(error), self._host(), error)
        self._send_queued_responses()
        self.event_queue.put("Evt19")  # unrecognised or invalid PDU

    def _send_queued_responses(self) -> None:
        """Send the responses that are queued before an abort: an instance taken is answered."""
        queued = self.to_provider_queue.queue
        while queued and isinstance(queued[0], P_DATA):
            if self.state_machine.current_state != "Sta6":
                return
            self.state_machine.do_action("Evt9")  # P-DATA request

    def _read_other(self, kind: int, length: int) -> None:
        if kind not in _PDU_TYPES or length > LONGEST_PDU:
            raise ProtocolError(Violation.PDU)
        encoded = _PDU_HEAD.pack(kind, length) + self._read(length)
        pdu, event = self._decode_pdu(bytearray(strict_form(encoded)))
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _host(self) -> str | None:
        address = self.assoc.requestor.address_info
        return address.address if address else None

    def _read_p_data(self, left: int) -> None:
        """Read the fragments of a P-DATA-TF PDU (PS3.8 9.3.5) and pass each on as it arrives."""
        while left:
            left -= _PDV_HEAD.size
            if left < 0:
                raise ProtocolError(Violation.FRAGMENT)
            length, context_id, control = _PDV_HEAD.unpack(self._take(_PDV_HEAD.size))
            payload = length - _PDV_COUNTED
            left -= payload
            if payload < 0 or left < 0:
                raise ProtocolError(Violation.FRAGMENT)
            while payload > PIECE_BYTES:
                self._pass_on(context_id, control & ~LAST_FRAGMENT, self._take(PIECE_BYTES))
                payload -= PIECE_BYTES
            self._pass_on(context_id, control, self._take(payload, HEADS_BYTES))

    def _pass_on(self, context_id: int, control: int, piece: memoryview) -> None:
        """Pass a fragment on, unless the listener drains and it would begin a message.

        Then it is discarded, and the association's thread is woken to abort the association, as it
        aborts one that is idle.
        """
        if self._messages.is_drained:
            self.to_user_queue.put(NOTHING)
        else:
            self._messages.receive_fragment(context_id, control, piece)

    def _read(self, count: int) -> bytes:
        """Return the next bytes, as many as they may be."""
        piece = memoryview(bytearray(count))
        held = min(count, len(self._received))
        piece[:held], self._received = self._received[:held], self._received[held:]
        self._receive(piece[held:], count - held)
        return bytes(piece)

    def _take(self, count: int, ahead: int = 0) -> memoryview:
        """Return the next bytes, at most a piece, until others are taken.

        As many as `ahead` that follow are received with them if they are there, so that most heads
        cost no call of their own.
        """
        held = len(self._received)
        if held < count:
            if len(self._buffer) < count + ahead:
                self._buffer = memoryview(bytearray(PIECE_BYTES + HEADS_BYTES))
            self._buffer[:held] = self._received
            held += self._receive(self._buffer[held : count + ahead], count - held)
            self._received = self._buffer[:held]
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _receive(self, piece: memoryview, least: int) -> int:
        """Receive at least so many bytes from the connection; return how many.

        They are acknowledged at once, unless they are many and more are there: a sender may wait
        for that with its last ones only.

        Raises:
            OSError: the peer closed the connection.
            StalledError: it is silent, or sends too slowly.
        """
        connection = self._connection()
        if connection is None:
            raise ConnectionError
        until = time.monotonic() + (self.network_timeout or float("inf"))
        received = 0
        while received < least:
            began = time.monotonic()
            try:
                count = connection.recv_into(piece[received:])
            except TimeoutError as exc:
                raise StalledError(Aborted.SILENT) from exc
            if not count:
                raise ConnectionError
            received += count
            if received < len(piece) or received < _MANY_BYTES:
                acknowledge_at_once(connection)
            now = time.monotonic()
            self._pace.add(now - began, count)
            if received < least and now > until:
                raise StalledError(Aborted.TOO_SLOW)
        return received
