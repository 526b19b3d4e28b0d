"""STOW-RS to a destination: what was sent, what was answered, and what never got through."""

import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from pydicom.uid import Comprehensive3DSRStorage

from service.dicom.implementation import IMPLEMENTATION_VERSION_NAME
from service.dicom.statuses import (
    SOP_CLASS_NOT_SUPPORTED,
)
from service.domain.delivery import Reference
from service.settings import WebDestination, is_bearer_token
from workers.delivery.stored_output import (
    NO_CONNECTION,
    UNKNOWN_HOST,
    DestinationUnavailableError,
    NoResponseError,
    StoreResponse,
    comprehensive_fallback,
    read_dataset,
    read_names,
)
from workers.delivery.stow_response import dimse_status, is_about_the_object

TLS_FAILED: Final = "tls-failed"
CONNECTION_LOST: Final = "connection-lost"
NO_ANSWER: Final = "no-answer"
TOKEN_UNREADABLE: Final = "token-unreadable"  # noqa: S105 -- a word for what went wrong
CA_UNREADABLE: Final = "ca-unreadable"
CERTIFICATE_UNREADABLE: Final = "client-certificate-unreadable"
DICOM_JSON: Final = "application/dicom+json"
MAXIMUM_RESPONSE_BYTES: Final = 1 << 20  # about one object; what is longer says nothing to us
_REQUEST_TIMEOUT, _SERVICE_UNAVAILABLE = 408, 503  # RFC 9110 15.5.9, 15.6.4


class WebSender:
    """A DICOMweb service, over one kept-alive connection."""

    def __init__(self, client: httpx.Client, destination: WebDestination) -> None:
        self._client = client
        self._studies = f"{destination.url}/studies"
        self._seconds = destination.response_seconds
        self._takes_3d_reports = True
        self._unanswered = 0  # objects in a row

    @property
    def is_open(self) -> bool:
        """Whether it may be sent to: a connection that was lost is made again."""
        return not self._client.is_closed

    def send(self, path: Path) -> StoreResponse:
        """Store one object and give the answer.

        It goes byte for byte; a Comprehensive 3D SR that is answered "SOP class not supported"
        goes as its Comprehensive SR twin, and so do those after it.

        Raises:
            AwayError: the service cannot be reached or turns everybody away.
            UnreachableError: no answer to this object came.
            DamagedError: the bytes in the outbox are no DICOM object any more.
            OSError: the object cannot be read from the outbox.
        """
        names = read_names(path)
        is_3d_report = names.sop_class_uid == Comprehensive3DSRStorage
        if self._takes_3d_reports or not is_3d_report:
            answer = self._store(path.read_bytes(), names.reference)
            if not is_3d_report or answer.status != SOP_CLASS_NOT_SUPPORTED:
                return answer
            self._takes_3d_reports = False
        twin = comprehensive_fallback(read_dataset(path), names)
        return self._store(twin.encode(), Reference(twin.sop_class_uid, twin.sop_instance_uid))

    def query(self) -> int:
        """Ask for one study, without reading it, and give the HTTP status.

        Raises:
            UnreachableError: no answer came.
        """
        status, _ = self._exchange(
            "GET", headers={"Accept": DICOM_JSON}, params={"limit": 1}, heard_out=False
        )
        return status

    def _store(self, instance: bytes, sent: Reference) -> StoreResponse:
        """Store one instance; the second in a row without an answer speaks of the service."""
        try:
            answer = self._answer(instance, sent)
        except DestinationUnavailableError:
            raise
        except NoResponseError as exc:
            self._unanswered += 1
            if self._unanswered > 1:
                raise DestinationUnavailableError(str(exc)) from exc
            raise
        self._unanswered = 0
        return answer

    def _answer(self, instance: bytes, sent: Reference) -> StoreResponse:
        boundary = uuid.uuid4().hex
        status, body = self._exchange(
            "POST",
            content=_multipart(instance, boundary),
            headers={
                "Accept": DICOM_JSON,
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            },
        )
        if is_about_the_object(status):
            return StoreResponse(
                status=dimse_status(status, body, sent.sop_instance_uid), sent=sent
            )
        raise _turned_away(status)

    def _exchange(
        self,
        method: str,
        *,
        heard_out: bool = True,
        **request: Any,  # noqa: ANN401 -- httpx' own
    ) -> tuple[int, bytes]:
        try:
            with self._client.stream(method, self._studies, **request) as response:
                return response.status_code, self._body(response) if heard_out else b""
        except httpx.TransportError as exc:
            raise _unreachable(exc) from exc

    def _body(self, response: httpx.Response) -> bytes:
        """Read what may say what became of the object; nothing when there is too much of it."""
        body, until = bytearray(), time.monotonic() + self._seconds
        for piece in response.iter_raw():  # not unpacked: a little may become very much
            body += piece
            if len(body) > MAXIMUM_RESPONSE_BYTES:
                return b""
            if time.monotonic() > until:  # each piece came in time, but they never end
                raise NoResponseError(NO_ANSWER)
        return bytes(body)


@contextmanager
def open_service(destination: WebDestination) -> Iterator[WebSender]:
    """Make ready to send to a DICOMweb service; it is connected to when something is sent.

    Token and certificates are read anew, so whoever renews them restarts nothing. Nothing is taken
    from the environment (proxies, .netrc), and no redirect is followed: the token is for this
    address.

    Raises:
        AwayError: the token or a certificate cannot be read.
    """
    with httpx.Client(
        headers=_headers(destination),
        verify=_tls(destination),
        timeout=httpx.Timeout(destination.response_seconds, connect=destination.connect_seconds),
        follow_redirects=False,
        trust_env=False,
    ) as client:
        yield WebSender(client, destination)


def _headers(destination: WebDestination) -> dict[str, str]:
    token = _token(destination)
    headers = {"User-Agent": IMPLEMENTATION_VERSION_NAME, "Accept-Encoding": "identity"}
    return headers if token is None else {**headers, "Authorization": f"Bearer {token}"}


def _token(destination: WebDestination) -> str | None:
    if destination.bearer_token is not None:
        return destination.bearer_token.get_secret_value()
    if destination.bearer_token_file is None:
        return None
    try:
        token = destination.bearer_token_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise DestinationUnavailableError(
            TOKEN_UNREADABLE
        ) from None  # its text may quote the token
    if not is_bearer_token(token):  # httpx' complaint would quote it
        raise DestinationUnavailableError(TOKEN_UNREADABLE)
    return token


def _tls(destination: WebDestination) -> ssl.SSLContext:
    """Trust what the system trusts, or the destination's own authority instead."""
    if not destination.is_encrypted:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # of no use, and cheaper than the system's
    try:
        context = ssl.create_default_context(cafile=destination.ca_file)
    except OSError as exc:
        raise DestinationUnavailableError(CA_UNREADABLE) from exc
    if destination.client_certificate_file is not None:
        try:
            context.load_cert_chain(
                destination.client_certificate_file,
                destination.client_key_file,
                password=lambda: "",  # or a key with a password would be asked for on a terminal
            )
        except (OSError, ValueError) as exc:
            raise DestinationUnavailableError(CERTIFICATE_UNREADABLE) from exc
    return context


def _multipart(instance: bytes, boundary: str) -> bytes:
    """Give one instance as the payload of a store request (PS3.18 8.6.1.2, RFC 2387)."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join((head.encode(), instance, f"\r\n--{boundary}--\r\n".encode()))


def _turned_away(status: int) -> NoResponseError:
    """Name a response that says nothing of the object.

    A server error may be of the object's making, so it is held against it alone.
    """
    of_this_object = status == _REQUEST_TIMEOUT or (
        httpx.codes.is_server_error(status) and status != _SERVICE_UNAVAILABLE
    )
    return (NoResponseError if of_this_object else DestinationUnavailableError)(f"http-{status}")


def _unreachable(error: httpx.TransportError) -> NoResponseError:
    """Name what kept a request from being answered."""
    causes = list(_causes(error))
    if any(isinstance(each, ssl.SSLError) for each in causes):
        return DestinationUnavailableError(TLS_FAILED)
    if any(isinstance(each, socket.gaierror) for each in causes):
        return DestinationUnavailableError(UNKNOWN_HOST)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return DestinationUnavailableError(NO_CONNECTION)
    return NoResponseError(
        NO_ANSWER if isinstance(error, httpx.TimeoutException) else CONNECTION_LOST
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
