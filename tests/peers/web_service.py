"""A scripted web service, which can also be a gateway that checks tokens."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from support.system.http import HTTP
from support.system.ports import LOOPBACK, free_port

PIECE_BYTES: Final = 16 * 1024
TAKEN_IN_BYTES: Final = 128 * 1024  # by the kernel; with less, loopback waits between segments
FORWARDED: Final = ("accept", "content-type")


@dataclass(frozen=True)
class Request:
    """A request as received."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True)
class Response:
    """The response to send."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class WebService:
    """A service; `answer` returns the response to a request, or None to close without one.

    Where `piece_read` is set, the service takes in little at once, and calls it after each piece of
    a body: it may wait there.
    """

    answer: Callable[[Request], Response | None]
    piece_read: Callable[[], None] | None = None
    tls: ssl.SSLContext | None = None
    port: int = field(default_factory=free_port)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'https' if self.tls else 'http'}://{LOOPBACK}:{self.port}"

    @contextmanager
    def running(self) -> Iterator["WebService"]:
        """Listen on loopback while the block runs."""
        server = _Server((LOOPBACK, self.port), _handler(self))
        if self.piece_read is not None:
            server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TAKEN_IN_BYTES)
        server.tls = self.tls
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def finish_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Do the TLS handshake in the connection's own thread."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        assert isinstance(request, socket.socket)
        with contextlib.suppress(OSError), self.tls.wrap_socket(request, server_side=True) as safe:
            super().finish_request(safe, client_address)


def _handler(service: WebService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            service.connections += 1

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.body(int(headers.get("content-length", 0)))
            request = Request(self.command, self.path, headers, body)
            service.requests.append(request)
            response = service.answer(request)
            if response is None:
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may have closed
                self.wfile.write(response.body)

        def body(self, count: int) -> bytes:
            if service.piece_read is None:
                return self.rfile.read(count)
            body = b""
            while piece := self.rfile.read(min(PIECE_BYTES, count - len(body))):
                service.piece_read()
                body += piece
            return body

        do_GET = do_POST = do_OPTIONS = answer  # noqa: N815 -- what http.server calls them

    return Handler


def gateway(
    service_url: str, token: Callable[[], str] | None = None
) -> Callable[[Request], Response]:
    """Build a gateway for a service without tokens, such as Orthanc; it checks the token.

    Hospitals use a reverse proxy such as nginx there. Without a token it passes on every request
    of an accepted TLS connection; Debian's Orthanc 1.10 closes the connection after each TLS
    handshake of its own.
    """

    def answer(request: Request) -> Response:
        if token is not None and request.headers.get("authorization") != f"Bearer {token()}":
            return Response(401, b"who are you?", {"WWW-Authenticate": "Bearer"})
        forwarded = HTTP.request(
            request.method,
            service_url + request.path,
            content=request.body,
            headers={name: request.headers[name] for name in FORWARDED if name in request.headers},
        )
        kept = {"Content-Type": forwarded.headers.get("content-type", "text/plain")}
        return Response(forwarded.status_code, forwarded.content, kept)

    return answer
