"""The least that a durable receiver in Python does: the bound for every other one.

    PYTHONPATH=tests .venv/bin/python -m bench.receivers.bare PORT FOLDER

It reads the PDUs of the benchmark's sender from a plain socket, writes the data set, takes its
digest as Lobar does, syncs the file and answers Success, in a thread for each association. It
checks nothing, keeps no record of what it received, and is no DICOM receiver for anything else.
"""

import itertools
import os
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import Final

from peers.raw_scu import (
    APPLICATION_CONTEXT,
    ASSOCIATE_AC,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    item,
    items,
    p_data,
    pdu,
)
from support.system.ports import LOOPBACK

from service.dicom.data_set_digest import DataSetDigest

_LONGEST: Final = 128 * 1024
_HEADERS: Final = 12  # bytes of the headers of a PDU and of its one fragment
_FIELD: Final = struct.pack("<HHL", 0, 0x0100, 2)  # tag and length (PS3.7 E.1)
_MESSAGE_ID: Final = struct.pack("<HHL", 0, 0x0110, 2)
_STORE: Final = b"\x01\0"


def serve(connection: socket.socket, folder: Path, names: "itertools.count[int]") -> None:
    """Receive over one association until it is released or closed."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = memoryview(bytearray(_LONGEST + _HEADERS))
    with connection:
        _, request = _read_pdu(connection, buffer)
        connection.sendall(_accepted(bytes(request)))
        while True:
            kind, body = _read_pdu(connection, buffer)
            if kind == RELEASE_RQ:
                connection.sendall(pdu(RELEASE_RP, b"\0" * 4))
            if kind != P_DATA:
                return
            command = bytes(body)
            if _value(command, _FIELD) == _STORE:
                _store(connection, buffer, folder / f"{next(names)}")
            connection.sendall(p_data([(1, True, True, _response(command))]))


def _read_pdu(connection: socket.socket, buffer: memoryview) -> tuple[int, memoryview]:
    """Read one PDU into a buffer; kind 0 if there is none."""
    if connection.recv_into(buffer, 6, socket.MSG_WAITALL) < 6:
        return 0, buffer[:0]
    kind, length = struct.unpack_from(">BxL", buffer)
    connection.recv_into(buffer, length, socket.MSG_WAITALL)
    return kind, buffer[:length]


def _store(connection: socket.socket, buffer: memoryview, path: Path) -> None:
    """Write the fragments of a data set to a file, durably."""
    digest = DataSetDigest()
    with path.open("wb", buffering=0) as file:
        is_last = False
        while not is_last:
            kind, body = _read_pdu(connection, buffer)
            if kind != P_DATA:
                return
            is_last = bool(body[5] & 2)
            digest.update(body[6:])
            file.write(body[6:])
        os.fsync(file.fileno())
    digest.text()


def _value(command: bytes, element: bytes) -> bytes:
    place = command.index(element) + len(element)
    return command[place : place + 2]


def _response(command: bytes) -> bytes:
    """Return the command of the response to a C-STORE or C-ECHO, with Success (PS3.7 9.3)."""
    field = bytes((_value(command, _FIELD)[0], 0x80))
    message_id = _value(command, _MESSAGE_ID)
    elements = ((0x0100, field), (0x0120, message_id), (0x0800, b"\x01\x01"), (0x0900, b"\0\0"))
    encoded = b"".join(struct.pack("<HHL", 0, tag, 2) + value for tag, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(encoded)) + encoded


def _accepted(request: bytes) -> bytes:
    """Return the A-ASSOCIATE-AC that accepts every context with its first transfer syntax."""
    body = request[:68] + item(0x10, APPLICATION_CONTEXT.encode())
    for kind, context in items(request[68:]):
        if kind == 0x20:
            syntax = dict(items(context[4:]))[0x40]
            body += item(0x21, context[:1] + b"\0\0\0" + item(0x40, syntax))
    return pdu(ASSOCIATE_AC, body + item(0x50, item(0x51, struct.pack(">L", _LONGEST))))


def main() -> None:
    """Receive until the process is ended."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    names: itertools.count[int] = itertools.count()
    with socket.create_server((LOOPBACK, port), backlog=128) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection, folder, names), daemon=True).start()


if __name__ == "__main__":
    main()
