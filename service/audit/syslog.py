"""Send audit messages to a syslog server: over TLS, TCP or UDP (PS3.15 A.6 and A.7).

Syslog has no answer. Over TLS and TCP a batch counts as taken when its bytes have arrived and the
server has then closed the connection in an orderly way: of a server that stops before it has read
them all, the connection is reset (RFC 1122, section 4.2.2.13). Over UDP nobody knows.
"""

import errno
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from service.audit.streams import Stream, TcpStream, TlsStream
from service.errors import ExplainedError
from service.settings import AuditSettings, SyslogTransport

_FACILITY: Final = 10  # security and authorization messages, PS3.15 A.6
_NOTICE: Final = 5  # severities of RFC 5424, section 6.2.1
_WARNING: Final = 4
_APP_NAME: Final = "lobar"
_MESSAGE_ID: Final = "DICOM+RFC3881"  # PS3.15 A.6
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # RFC 5424, section 6.4: what follows is UTF-8


class SyslogFault(StrEnum):
    """Why a server did not take messages; a metric label."""

    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"  # its own is not trusted, or it refuses Lobar's
    BROKEN = "broken"  # the connection ended before everything was taken
    NO_ANSWER = "no-answer"  # it did not close the connection in time


class SyslogError(ExplainedError):
    """The server did not take the messages; some of them may have arrived."""

    def __init__(self, fault: SyslogFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


def framed(content: bytes, *, at: float, host: str, failed: bool) -> bytes:
    """Put an audit message into a syslog message (RFC 5424, section 6).

    Args:
        content: The XML, in UTF-8.
        at: When it happened, seconds since the epoch.
        host: Name of this machine.
        failed: Whether the action failed: a warning instead of a notice.
    """
    priority = 8 * _FACILITY + (_WARNING if failed else _NOTICE)
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    header = f"<{priority}>1 {moment} {host or '-'} {_APP_NAME} - {_MESSAGE_ID} - "
    return header.encode("ascii", "replace") + _BYTE_ORDER_MARK + content


class SyslogServer:
    """A syslog server; every call makes a connection of its own, with the files as they are now."""

    def __init__(self, settings: AuditSettings) -> None:
        if settings.syslog_host is None:
            raise ValueError("no server is configured")
        self._settings = settings
        self._address = (settings.syslog_host, settings.syslog_port)
        self._where = f"{settings.syslog_host}:{settings.syslog_port}"

    def send(self, messages: Sequence[bytes]) -> None:
        """Send messages in order; they are taken when this returns, as far as can be known.

        Raises:
            SyslogError: They are not, or not all.
        """
        if self._settings.syslog_transport is SyslogTransport.UDP:
            self._send_datagrams(messages)
            return
        counted = b"".join(b"%d %b" % (len(each), each) for each in messages)
        with self._explained(), self._connect() as connection:
            connection.send(counted)
            connection.end()

    def try_connection(self) -> str:
        """Connect, send nothing, and return one sentence that says what came of it.

        Raises:
            SyslogError: The server cannot be used.
        """
        if self._settings.syslog_transport is SyslogTransport.UDP:
            with self._explained():
                socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)
            return f"{self._where} over UDP, which has no answer: not checked further"
        with self._explained(), self._connect() as connection:
            connection.end()
        return f"{self._where} answers over {connection.kind}"

    @contextmanager
    def _connect(self) -> Iterator[Stream]:
        seconds = self._settings.syslog_seconds
        encrypted = self._settings.syslog_transport is SyslogTransport.TLS
        context = self._context() if encrypted else None  # the files may be unusable
        try:
            connection = socket.create_connection(self._address, timeout=seconds)
        except TimeoutError as exc:
            raise _error(SyslogFault.UNREACHABLE, self._where, exc) from exc
        with connection:
            stream = TcpStream(connection, seconds)
            yield stream if context is None else TlsStream(stream, context, self._address[0])

    def _context(self) -> ssl.SSLContext:
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=settings.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2  # PS3.15 A.6
            if settings.client_certificate_file is not None:
                context.load_cert_chain(
                    settings.client_certificate_file,
                    settings.client_key_file,
                    password=_no_password,
                )
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            files = (
                settings.ca_file,
                settings.client_certificate_file,
                settings.client_key_file,
            )
            named = ", ".join(str(each) for each in files if each is not None)
            message = f"{named} cannot be used: {_words(exc)}. Set the files of [audit]."
            raise SyslogError(SyslogFault.CERTIFICATE, message) from exc
        return context

    def _send_datagrams(self, messages: Iterable[bytes]) -> None:
        host, port = self._address
        with self._explained():
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM
            )[0]
            with socket.socket(family, kind, protocol) as sender:
                sender.settimeout(self._settings.syslog_seconds)
                sender.connect(address)
                for each in messages:
                    sender.send(each)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeError) as exc:  # TimeoutError and ssl.SSLError are OSErrors
            raise _error(_fault_of(exc), self._where, exc) from exc


_SENTENCES: Final[dict[SyslogFault, str]] = {
    SyslogFault.UNREACHABLE: "cannot be reached",
    SyslogFault.CERTIFICATE: "and Lobar do not trust each other's certificate",
    SyslogFault.BROKEN: "broke the connection off",
    SyslogFault.NO_ANSWER: "does not end the connection after a batch",
}
_UNREACHABLE: Final = (ConnectionRefusedError, socket.gaierror, UnicodeError)
_OF_CERTIFICATES: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
_ENDED: Final = (ConnectionError, ssl.SSLError)


def _error(fault: SyslogFault, where: str, exc: Exception) -> SyslogError:
    return SyslogError(fault, f"{where} {_SENTENCES[fault]} ({_words(exc)}).")


def _fault_of(exc: OSError | UnicodeError) -> SyslogFault:
    if isinstance(exc, ssl.SSLError) and any(
        each in (exc.reason or "") for each in _OF_CERTIFICATES
    ):
        return SyslogFault.CERTIFICATE
    if isinstance(exc, TimeoutError):
        return SyslogFault.NO_ANSWER
    if isinstance(exc, _UNREACHABLE):
        return SyslogFault.UNREACHABLE
    was_connected = isinstance(exc, _ENDED) or (
        isinstance(exc, OSError) and exc.errno == errno.ENOTCONN  # it was reset before
    )
    return SyslogFault.BROKEN if was_connected else SyslogFault.UNREACHABLE


def _no_password() -> str:
    raise ValueError("the key is behind a password")


def _words(exc: Exception) -> str:
    """Return what happened in a few words, without text from the wire."""
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or type(exc).__name__).replace("_", " ").lower()
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc) if isinstance(exc, ValueError) else type(exc).__name__
