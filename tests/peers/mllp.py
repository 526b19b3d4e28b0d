"""Receivers of HL7 messages: hl7apy's server, python-hl7's, and one that answers as a test says."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import hl7
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message
from support.system.ports import LOOPBACK, free_port

BEGIN, END = b"\x0b", b"\x1c\r"


def acknowledge(message: str, code: str = "AA", *errors: str, control_id: str | None = None) -> str:
    """Write an acknowledgement of a message (HL7 v2.5.1 2.15)."""
    named = control_id or message.split("\r", maxsplit=1)[0].split("|")[9]
    head = "MSH|^~\\&|RIS||LOBAR||20260101000000||ACK^R01^ACK|1|P|2.5.1\r"
    wrong = "".join(f"ERR|||{each}^why^HL70357|E\r" for each in errors)
    return f"{head}MSA|{code}|{named}\r{wrong}"


class _KeepingHandler(AbstractHandler):
    """Keeps each message that hl7apy can parse and finds valid, and acknowledges it."""

    def __init__(self, message: str, kept: list[Any]) -> None:
        super().__init__(message)
        self._kept = kept

    def reply(self) -> str:
        """Validate the message by the standard's structure, keep it, and answer AA."""
        parsed = parse_message(self.incoming_message, find_groups=True, validation_level=1)
        parsed.validate()
        self._kept.append(parsed)
        return f"\x0b{acknowledge(self.incoming_message)}\x1c\r"


@contextmanager
def hl7apy_server() -> Iterator[tuple[int, list[Any]]]:
    """Run hl7apy's MLLP server, which closes the connection after each answer.

    Yields:
        Its port, and the messages that it parsed and found valid.
    """
    kept: list[Any] = []
    server = MLLPServer(
        LOOPBACK, free_port(), {"ORU^R01^ORU_R01": (_KeepingHandler, kept)}, timeout=5
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.port, kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def python_hl7_server() -> Iterator[tuple[int, list[hl7.Message]]]:
    """Run python-hl7's MLLP server, which keeps the connection and makes its own answers.

    Yields:
        Its port, and the messages that it parsed.
    """
    kept: list[hl7.Message] = []
    port, started, ended = free_port(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def answer(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                message = await reader.readmessage()
                kept.append(message)
                writer.writemessage(message.create_ack())
                await writer.drain()
        writer.close()

    async def serve() -> None:
        server = await start_hl7_server(answer, LOOPBACK, port, encoding="utf-8")
        started.set()
        await ended.wait()
        server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(60)
    try:
        yield port, kept
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@dataclass
class ScriptedMllp:
    """A stand-in for a receiver: `answer` returns what to send back, or None to close."""

    answer: Callable[[str], bytes | None]
    tls: ssl.SSLContext | None = None
    port: int = field(default_factory=free_port)
    received: list[str] = field(default_factory=list)
    connections: int = 0

    @contextmanager
    def running(self) -> Iterator["ScriptedMllp"]:
        """Listen on loopback while the block runs."""
        with socket.create_server((LOOPBACK, self.port)) as listening:
            listening.settimeout(0.05)
            ended = threading.Event()
            threads = [threading.Thread(target=self._accept, args=(listening, ended))]
            threads[0].start()
            try:
                yield self
            finally:
                ended.set()
                threads[0].join()

    def _accept(self, listening: socket.socket, ended: threading.Event) -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listening.accept()
                connection.settimeout(10)
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        received = b""
        while piece := connection.recv(4096):
            received += piece
            while END in received:
                frame, _, received = received.partition(END)
                message = frame.removeprefix(BEGIN).decode()
                self.received.append(message)
                answer = self.answer(message)
                if answer is None:
                    return
                connection.sendall(answer)


def framed(text: str) -> bytes:
    """Put a message between the bytes of MLLP."""
    return BEGIN + text.encode() + END
