"""An SCU that sends exactly the bytes that a test chooses, valid or not (PS3.8, PS3.7)."""

import contextlib
import io
import socket
import ssl
import struct
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from support.system.ports import LOOPBACK
from synthetic.part10 import part10

VERIFICATION: Final = "1.2.840.10008.1.1"
APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
ANSWER_SECONDS: Final = 60  # for a loaded machine; a closed connection is noticed at once


class Rejected(Exception):  # noqa: N818 -- the standard's word
    """An association was rejected: (result, source, reason) of PS3.8 table 9-21."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(result, source, reason)
        self.why = (result, source, reason)


class Closed(Exception):  # noqa: N818 -- the state of the connection
    """The peer closed the connection or sent A-ABORT."""


class Sender:
    """An association requestor; context ids are 1, 3, 5 … in the order given.

    Raises:
        Rejected: the association was rejected.
        Closed: it was aborted.
    """

    def __init__(
        self,
        port: int,
        contexts: Sequence[tuple[str, str]] = ((VERIFICATION, ImplicitVRLittleEndian),),
        *,
        calling: str = "TEST",
        called: str = "LOBAR",
        source: str = LOOPBACK,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = socket.create_connection(
            (LOOPBACK, port), timeout=ANSWER_SECONDS, source_address=(source, 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=LOOPBACK)
        self.accepted: dict[int, str] = {}
        self.longest_pdu = 16384
        self._message_id = 0
        try:
            self.socket.sendall(associate_rq(contexts, calling=calling, called=called))
            self._read_answer()
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def echo(self, context_id: int = 1) -> int:
        """Send C-ECHO; return the status."""
        self._message_id += 1
        command = command_set(VERIFICATION, 0x0030, self._message_id, has_data_set=False)
        self.send_fragments(context_id, command, is_command=True)
        return self.status()

    def store(
        self,
        sop_class: str | None,
        sop_instance: str | None,
        data_set: bytes,
        *,
        context_id: int = 1,
        fragment_bytes: int = 16000,
    ) -> int:
        """Send C-STORE; return the status."""
        self.begin_store(sop_class, sop_instance, context_id=context_id)
        self.send_fragments(context_id, data_set, is_command=False, size=fragment_bytes)
        return self.status()

    def begin_store(
        self,
        sop_class: str | None,
        sop_instance: str | None,
        *,
        context_id: int = 1,
        has_data_set: bool = True,
    ) -> None:
        """Send the command of a C-STORE and none of its data set."""
        self._message_id += 1
        command = command_set(
            sop_class,
            0x0001,
            self._message_id,
            has_data_set=has_data_set,
            sop_instance=sop_instance,
        )
        self.send_fragments(context_id, command, is_command=True)

    def send_fragments(
        self,
        context_id: int,
        message: bytes,
        *,
        is_command: bool,
        size: int = 16000,
        is_whole: bool = True,
    ) -> None:
        """Send a command or data set in P-DATA-TF PDUs of one fragment each."""
        pieces = [message[start : start + size] for start in range(0, len(message), size)] or [b""]
        for number, piece in enumerate(pieces, 1):
            is_last = is_whole and number == len(pieces)
            self.say(p_data([(context_id, is_command, is_last, piece)]))

    def say(self, message: bytes) -> None:
        """Send bytes; if the peer closes meanwhile, the next read notices it."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(message)

    def status(self) -> int:
        """Read the response to the last request and return its status."""
        kind, body = self.read_pdu()
        assert kind == P_DATA, f"not an answer but PDU {kind}"
        answer = pydicom.filereader.read_dataset(
            io.BytesIO(body[6:]), is_implicit_VR=True, is_little_endian=True
        )
        assert answer.MessageIDBeingRespondedTo == self._message_id
        return int(answer.Status)

    def release(self) -> None:
        """Release the association and require that the peer closes it."""
        self.socket.sendall(pdu(RELEASE_RQ, b"\0" * 4))
        kind, _ = self.read_pdu()
        assert kind == RELEASE_RP, f"not a release but PDU {kind}"
        self.socket.close()

    def abort(self) -> None:
        """Send A-ABORT and close."""
        self.socket.sendall(pdu(ABORT, b"\0" * 4))
        self.socket.close()

    def read_pdu(self) -> tuple[int, bytes]:
        """Read one PDU: its type and the bytes after the header.

        Raises:
            Closed: there is none, or it is an A-ABORT.
        """
        try:
            kind, length = struct.unpack(">BxL", self._read(6))
            body = self._read(length)
        except ConnectionError as exc:
            raise Closed from exc
        if kind == ABORT:
            raise Closed
        return kind, body

    def is_closed_upon(self) -> bool:
        """Wait for the peer; return whether it closed or aborted."""
        try:
            self.read_pdu()
        except Closed:
            return True
        return False

    def _read_answer(self) -> None:
        answer, body = self.read_pdu()
        if answer == ASSOCIATE_RJ:
            raise Rejected(*body[1:4])
        for kind, item in items(body[68:]):
            if kind == 0x21 and item[2] == 0:
                self.accepted[item[0]] = dict(items(item[4:]))[0x40].decode()
            elif kind == 0x50:
                self.longest_pdu = struct.unpack(">L", dict(items(item))[0x51])[0]

    def _read(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.socket.recv(count - len(parts))
            if not part:
                raise ConnectionError
            parts += part
        return parts


def pdu(kind: int, body: bytes) -> bytes:
    """Encode a PDU (PS3.8 9.3.1)."""
    return struct.pack(">BxL", kind, len(body)) + body


def p_data(fragments: Iterable[tuple[int, bool, bool, bytes]]) -> bytes:
    """Encode a P-DATA-TF PDU of (context id, is command, is last, bytes) (PS3.8 9.3.5)."""
    return pdu(
        P_DATA,
        b"".join(
            struct.pack(">LBB", len(piece) + 2, context_id, is_command | is_last << 1) + piece
            for context_id, is_command, is_last, piece in fragments
        ),
    )


def associate_rq(contexts: Sequence[tuple[str, str]], *, calling: str, called: str) -> bytes:
    """Encode an A-ASSOCIATE-RQ PDU (PS3.8 9.3.2)."""
    body = struct.pack(">Hxx16s16s32x", 1, f"{called:<16}".encode(), f"{calling:<16}".encode())
    body += item(0x10, APPLICATION_CONTEXT.encode())
    for number, (abstract_syntax, transfer_syntax) in enumerate(contexts):
        syntaxes = item(0x30, abstract_syntax.encode()) + item(0x40, transfer_syntax.encode())
        body += item(0x20, struct.pack("Bxxx", (2 * number + 1) % 256) + syntaxes)
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.826.0.1.3680043.8.498.1")
    return pdu(ASSOCIATE_RQ, body + item(0x50, user))


def item(kind: int, body: bytes) -> bytes:
    """Encode an item or sub-item of an association PDU (PS3.8 9.3.2.1)."""
    return struct.pack(">BxH", kind, len(body)) + body


def items(body: bytes) -> Iterable[tuple[int, bytes]]:
    """Decode the variable part of an association PDU."""
    while body:
        kind, length = struct.unpack(">BxH", body[:4])
        yield kind, body[4 : 4 + length]
        body = body[4 + length :]


def command_set(
    sop_class: str | None,
    field: int,
    message_id: int,
    *,
    has_data_set: bool,
    sop_instance: str | None = None,
) -> bytes:
    """Encode a request's command set (PS3.7 9.3); None leaves the identifier out."""
    elements = [(0x0100, struct.pack("<H", field)), (0x0110, struct.pack("<H", message_id))]
    elements += [(0x0700, b"\0\0"), (0x0800, struct.pack("<H", 1 if has_data_set else 0x0101))]
    for tag, uid in ((0x0002, sop_class), (0x1000, sop_instance)):
        if uid is not None:
            elements.append((tag, uid.encode() + b"\0" * (len(uid) % 2)))
    encoded = b"".join(
        struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in sorted(elements)
    )
    return struct.pack("<HHLL", 0, 0, 4, len(encoded)) + encoded


def data_set_bytes(dataset: Dataset) -> bytes:
    """Encode a data set in its transfer syntax, without preamble and file meta information."""
    file = part10(dataset)
    group_length: int = struct.unpack_from("<L", file, 140)[0]
    return file[144 + group_length :]
