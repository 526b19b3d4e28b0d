"""Send a C-STORE request straight to the socket of an established association.

pynetdicom makes three objects and two hand-overs between threads of each PDU, and a destination
that takes 16 KiB at once gets 170 PDUs of an overlay. Here the PDUs of a file are written in pieces
of many, by the thread that sends. Everything else stays pynetdicom's: it negotiates, reads the
response, and notices an abort (docs/adr/0067-delivery.md).

Not for TLS: its connection must not be read and written by two threads at once.
"""

import contextlib
import os
import select
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset

from service.dicom.reactor_pause import held
from service.domain.delivery import Reference
from workers.delivery.sending import Touch, acknowledge_at_once

PIECE_BYTES: Final = 128 * 1024  # at least, unless it is the last
_LONGEST_WAIT_SECONDS: Final = 0.05  # for bytes, before time limits are looked at again
_ESTABLISHED: Final = "Sta6"  # PS3.8 table 9-10
_CONNECTION_CLOSED: Final = "Evt17"  # PS3.8 table 9-10
_PDU: Final = struct.Struct(">BxLLBB")  # P-DATA-TF with one PDV, PS3.8 9.3.5
_P_DATA_TF: Final = 0x04
_PDV_BYTES: Final = 6  # of a PDV beside its data: length, context, message control header
_DATA, _LAST_OF_DATA, _COMMAND, _LAST_OF_COMMAND = 0x00, 0x02, 0x01, 0x03  # PS3.8 annex E.2
_ELEMENT: Final = struct.Struct("<HHL")  # Implicit VR Little Endian, PS3.7 6.3.1


class ConnectionLostError(Exception):
    """The connection broke, or the destination took no byte for as long as a response may take."""


def connection_of(association: Association) -> socket.socket | None:
    """Return the connection that may be written to directly; None where it may not."""
    transport = association.dul.socket
    connection = None if transport is None else transport.socket
    return None if isinstance(connection, ssl.SSLSocket) else connection


@contextmanager
def at_rest(association: Association) -> Iterator[None]:
    """Let an association's two threads wait while the block runs, in which only `store` sends.

    By itself its upper layer looks for bytes once in a millisecond, so that the next request starts
    as late, and its other thread looks for messages as often: 4 % of a core for each association
    that idles. That one is paused: see `reactor_pause`. Both find what came when the block ends.
    """
    layer, ended = association.dul, os.eventfd(0)
    look = layer._is_transport_event  # noqa: SLF001 -- there is no public way

    def wait_and_look() -> bool:
        connection = connection_of(association)
        if connection is not None:
            waited: list[socket.socket | int] = [connection, ended]
            with contextlib.suppress(OSError, ValueError):  # closed: the look finds that
                select.select(waited, [], [], _LONGEST_WAIT_SECONDS)
        return look()

    with held(association):
        layer._is_transport_event = wait_and_look  # type: ignore[method-assign]  # noqa: SLF001
        try:
            yield
        finally:
            layer._is_transport_event = look  # type: ignore[method-assign]  # noqa: SLF001
            os.eventfd_write(ended, 1)
            os.close(ended)


def is_established(association: Association) -> bool:
    """Return whether requests can be sent, as the upper layer has it."""
    return bool(association.dul.state_machine.current_state == _ESTABLISHED)


def store(
    association: Association,
    connection: socket.socket,
    path: Path,
    sent: Reference,
    context_id: int,
    touch: Touch,
) -> Dataset:
    """Send a file's data set as it is, and return the response; empty where none came in time.

    Args:
        association: It is established, and at rest.
        connection: Its connection.
        path: The file.
        sent: The object in it.
        context_id: The presentation context that was accepted for its class and transfer syntax.
        touch: Called for each piece that is sent.

    Raises:
        ConnectionLostError: the request could not be sent.
        OSError: the file cannot be read.
    """
    content = _data_set(path)
    if not is_established(association):
        raise ConnectionLostError
    pdus = _pdus(command(sent), content, context_id, association.dimse.maximum_pdu_size)
    try:
        for piece in _pieces(pdus):
            _send(connection, piece, touch)
    except OSError as exc:
        association.dul.event_queue.put(_CONNECTION_CLOSED)
        raise ConnectionLostError from exc
    _, response = association.dimse.get_msg(block=True)
    if response is None:
        association._handle_no_response()  # noqa: SLF001 -- as its own send_c_store does
        return Dataset()
    return association._check_received_status(response)  # noqa: SLF001 -- as above


def command(sent: Reference) -> bytes:
    """Encode the command set of a C-STORE request (PS3.7 9.3.1.1), as pynetdicom does."""
    elements = b"".join(
        (
            _element(0x0002, _padded(sent.sop_class_uid)),
            _element(0x0100, struct.pack("<H", 0x0001)),  # C-STORE-RQ
            _element(0x0110, struct.pack("<H", 1)),  # one request at a time
            _element(0x0700, struct.pack("<H", 2)),  # the priority of pynetdicom: low
            _element(0x0800, struct.pack("<H", 1)),  # a data set follows
            _element(0x1000, _padded(sent.sop_instance_uid)),
        )
    )
    return _element(0x0000, struct.pack("<L", len(elements))) + elements


def _element(number: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0x0000, number, len(value)) + value


def _padded(uid: str) -> bytes:
    encoded = uid.encode("ascii")
    return encoded + b"\0" * (len(encoded) % 2)  # PS3.5 9.1


def _data_set(path: Path) -> memoryview:
    """Read the bytes of a file after its File Meta Information."""
    _, offset = split_dataset(path)
    return memoryview(path.read_bytes())[offset:]


def _pdus(
    command_set: bytes, content: memoryview, context_id: int, maximum_pdu_bytes: int
) -> Iterator[bytes | memoryview]:
    """Yield the PDUs of a message: of each its header, and then its data."""
    for data, more, last in (
        (memoryview(command_set), _COMMAND, _LAST_OF_COMMAND),
        (content, _DATA, _LAST_OF_DATA),
    ):
        size = maximum_pdu_bytes - _PDV_BYTES
        for start in range(0, len(data), size):
            fragment = data[start : start + size]
            control = last if start + size >= len(data) else more
            pdv = len(fragment) + 2
            yield _PDU.pack(_P_DATA_TF, pdv + 4, pdv, context_id, control)
            yield fragment


def _pieces(parts: Iterator[bytes | memoryview]) -> Iterator[bytearray]:
    """Join parts, so that one call sends many small PDUs."""
    piece = bytearray()
    for part in parts:
        piece += part
        if len(piece) >= PIECE_BYTES:
            yield piece
            piece = bytearray()
    if piece:
        yield piece


def _send(connection: socket.socket, piece: bytearray, touch: Touch) -> None:
    """Send a piece; each part that the kernel takes begins the time limit anew."""
    left = memoryview(piece)
    while left:
        left = left[connection.send(left) :]
        acknowledge_at_once(connection)
        touch()
