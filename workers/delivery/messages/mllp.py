"""Send HL7 messages over MLLP, and read their acknowledgements.

The Minimal Lower Layer Protocol frames each message between VT and FS CR (HL7 MLLP release 1). One
message is on its way at a time; its acknowledgement names it by the control ID.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from service.messages.facts import ReportFacts
from service.messages.hl7.acknowledgement import (
    UnreadableAcknowledgementError,
    read_acknowledgement,
)
from service.messages.hl7.oru import Names, OruTemplate
from service.settings import Hl7Destination
from workers.delivery.dimse_tls import fault_word
from workers.delivery.messages.connection import open_socket
from workers.delivery.messages.sender import MessageSender, loaded
from workers.delivery.sending import Touch, no_touch
from workers.delivery.stored_output import DestinationUnavailableError, NoResponseError
from workers.delivery.web_client import CONNECTION_LOST, NO_ANSWER

BEGIN: Final = b"\x0b"
END: Final = b"\x1c\r"
ANSWER_UNREADABLE: Final = "answer-unreadable"
_LONGEST_ANSWER: Final = 1 << 16  # bytes; an acknowledgement has some 200
_PIECE_BYTES: Final = 4096


class _ClosedError(NoResponseError):
    """The receiver closed the connection without a byte of an answer."""

    def __init__(self) -> None:
        super().__init__(CONNECTION_LOST)


class MllpConnection:
    """A connection to a receiver of HL7 messages, made again where it was closed meanwhile."""

    def __init__(self, destination: Hl7Destination, touch: Touch = no_touch) -> None:
        self._destination = destination
        self._touch = touch
        self._socket: socket.socket | None = None
        self._is_new = True  # no message went over it yet

    def connect(self) -> None:
        """Connect, if there is no connection that can be used.

        Raises:
            DestinationUnavailableError: the receiver cannot be reached.
        """
        if self._socket is not None and _was_closed(self._socket):
            self.close()
        if self._socket is not None:
            return
        peer = self._destination
        self._socket = open_socket(peer, peer.name, peer.connect_seconds, tls=peer.tls)
        self._socket.settimeout(peer.response_seconds)
        self._is_new = True

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = None

    def exchange(self, message: bytes) -> bytes:
        """Send a message and return the answer to it, both without their frames.

        Some receivers close the connection after each answer, maybe while the next message is on
        its way: that is sent once more. A repeat has the same control ID.

        Raises:
            DestinationUnavailableError: the receiver cannot be reached.
            NoResponseError: no answer came.
        """
        self.connect()
        was_new = self._is_new
        try:
            return self._exchange(message)
        except _ClosedError:
            if was_new:
                raise
        self.connect()
        return self._exchange(message)

    def _exchange(self, message: bytes) -> bytes:
        with self._used() as connection:
            self._is_new = False
            connection.sendall(BEGIN + message + END)
            self._touch()
            return self._answer(connection)

    @contextmanager
    def _used(self) -> Iterator[socket.socket]:
        """Use the present connection, and close it where something was missed.

        What comes later on it would be taken for the answer to the next message.
        """
        if self._socket is None:
            raise _ClosedError
        try:
            yield self._socket
        except TimeoutError as exc:
            self.close()
            raise NoResponseError(NO_ANSWER) from exc
        except OSError as exc:
            self.close()
            # with TLS 1.3 a refusal of our certificate shows here
            if isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError):
                raise DestinationUnavailableError(fault_word(exc)) from exc
            raise _ClosedError from exc
        except NoResponseError:
            self.close()
            raise

    def _answer(self, connection: socket.socket) -> bytes:
        """Read one frame; what comes before its beginning is skipped."""
        until = time.monotonic() + self._destination.response_seconds
        received = bytearray()
        while END not in received:
            if len(received) > _LONGEST_ANSWER:
                raise NoResponseError(ANSWER_UNREADABLE)
            if time.monotonic() > until:  # pieces came in time, but there is no end
                raise NoResponseError(NO_ANSWER)
            piece = connection.recv(_PIECE_BYTES)
            if not piece:
                raise NoResponseError(CONNECTION_LOST) if received else _ClosedError
            received += piece
            self._touch()
        return bytes(received.partition(END)[0].rpartition(BEGIN)[2])


class Hl7Receiver:
    """A receiver of HL7 messages."""

    def __init__(self, connection: MllpConnection, template: OruTemplate) -> None:
        self._connection = connection
        self._template = template

    def submit(self, report: ReportFacts) -> int:
        """Send the message about a report, and return its acknowledgement as a DIMSE status.

        Raises:
            MessageTemplateError: the template makes no message of this report.
            NoResponseError: no acknowledgement of this message came.
        """
        message = self._template.of(report)
        answer = self._connection.exchange(message.encode())
        try:
            return read_acknowledgement(answer, message.control_id).status
        except UnreadableAcknowledgementError as exc:
            self._connection.close()
            raise NoResponseError(ANSWER_UNREADABLE) from exc


@contextmanager
def open_mllp(destination: Hl7Destination, touch: Touch = no_touch) -> Iterator[MessageSender]:
    """Open a connection to a receiver of HL7 messages.

    Raises:
        DestinationUnavailableError: the template or a certificate cannot be used, or the receiver
            cannot be reached.
    """
    template = loaded(destination, lambda: oru_template(destination))
    connection = MllpConnection(destination, touch)
    try:
        connection.connect()
        yield MessageSender(destination, Hl7Receiver(connection, template).submit)
    finally:
        connection.close()


def oru_template(destination: Hl7Destination) -> OruTemplate:
    """Load the template of a destination.

    Raises:
        MessageTemplateError: it cannot be used.
    """
    names = Names(
        sending_application=destination.sending_application,
        sending_facility=destination.sending_facility,
        receiving_application=destination.receiving_application,
        receiving_facility=destination.receiving_facility,
        processing_id=destination.processing_id,
    )
    return OruTemplate(destination.template_file, names, destination.name)


def _was_closed(connection: socket.socket) -> bool:
    """Return whether the receiver closed a connection, or sent what nobody asked for.

    Over TLS 1.3 it may have sent session tickets, which are no data: so it is read.
    """
    seconds = connection.gettimeout()
    connection.settimeout(0)
    try:
        connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    else:
        return True
    finally:
        connection.settimeout(seconds)
