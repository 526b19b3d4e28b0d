"""HTTP to a destination: the client, its credentials, one request, and why it got no response."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from service.dicom.implementation import IMPLEMENTATION_VERSION_NAME
from service.settings import (
    FhirDestination,
    WebDestination,
    WebhookDestination,
    WebPeer,
    is_bearer_token,
)
from workers.delivery.response_body import MAXIMUM_BYTES, UnreadableError, inflate
from workers.delivery.sending import SOCKET_OPTIONS, Touch
from workers.delivery.stored_output import (
    NO_CONNECTION,
    UNKNOWN_HOST,
    DestinationUnavailableError,
    NoResponseError,
)

TLS_FAILED: Final = "tls-failed"
CONNECTION_LOST: Final = "connection-lost"
NO_ANSWER: Final = "no-answer"
TOKEN_UNREADABLE: Final = "token-unreadable"  # noqa: S105 -- the name of a fault
CA_UNREADABLE: Final = "ca-unreadable"
CERTIFICATE_UNREADABLE: Final = "client-certificate-unreadable"
WebService = WebDestination | WebhookDestination | FhirDestination
"""The kinds of destination that are sent requests over HTTP."""

_REQUEST_TIMEOUT, _SERVICE_UNAVAILABLE = 408, 503  # RFC 9110 15.5.9, 15.6.4


@contextmanager
def open_client(destination: WebService) -> Iterator[httpx.Client]:
    """Open a client of a web service, which connects when something is sent.

    Token and certificates are read each time, so that renewing them needs no restart. Nothing is
    taken from the environment (proxies, .netrc), and no redirect is followed: the token is for this
    address.

    Raises:
        DestinationUnavailableError: the token or a certificate cannot be read.
    """
    with httpx.Client(
        headers=_headers(destination),
        transport=httpx.HTTPTransport(
            verify=_tls(destination), trust_env=False, socket_options=SOCKET_OPTIONS
        ),
        timeout=httpx.Timeout(destination.response_seconds, connect=destination.connect_seconds),
        follow_redirects=False,
        trust_env=False,
    ) as client:
        yield client


def exchange(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    seconds: float,
    touch: Touch,
    read_body: bool = True,
    **request: Any,  # noqa: ANN401 -- httpx' own
) -> tuple[httpx.Response, bytes | None]:
    """Send a request, and return the response with its inflated body.

    Args:
        client: the client.
        method: the method.
        url: the address.
        seconds: how long the body of the response may take.
        touch: called for each piece of it.
        read_body: whether the body is read at all.
        **request: what httpx takes.

    Returns:
        The body is None if it is too long or damaged.

    Raises:
        NoResponseError: no response came.
    """
    try:
        with client.stream(method, url, **request) as response:
            return response, _body(response, seconds, touch) if read_body else b""
    except httpx.TransportError as exc:
        raise unreachable(exc) from exc


def _body(response: httpx.Response, seconds: float, touch: Touch) -> bytes | None:
    """Read and inflate the body of a response; return None if it is too long or damaged."""
    body, until = bytearray(), time.monotonic() + seconds
    for piece in response.iter_raw():  # inflated below, within a bound
        body += piece
        touch()
        if len(body) > MAXIMUM_BYTES:
            return None
        if time.monotonic() > until:  # each piece came in time, but there is no end
            raise NoResponseError(NO_ANSWER)
    try:
        return inflate(bytes(body), response.headers.get("content-encoding", ""))
    except UnreadableError:
        return None


def _headers(peer: WebPeer) -> dict[str, str]:
    token = _token(peer)
    headers = {"User-Agent": IMPLEMENTATION_VERSION_NAME, "Accept-Encoding": "identity"}
    return headers if token is None else {**headers, "Authorization": f"Bearer {token}"}


def _token(peer: WebPeer) -> str | None:
    if peer.bearer_token is not None:
        return peer.bearer_token.get_secret_value()
    if peer.bearer_token_file is None:
        return None
    try:
        token = peer.bearer_token_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        # not chained: the message may quote the token
        raise DestinationUnavailableError(TOKEN_UNREADABLE) from None
    if not is_bearer_token(token):  # the message of httpx would quote it
        raise DestinationUnavailableError(TOKEN_UNREADABLE)
    return token


def _tls(peer: WebPeer) -> ssl.SSLContext:
    """Build a TLS context that trusts the service's authority, or else those of the system."""
    if not peer.is_encrypted:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused, and cheap to make
    try:
        context = ssl.create_default_context(cafile=peer.ca_file)
    except OSError as exc:
        raise DestinationUnavailableError(CA_UNREADABLE) from exc
    if peer.client_certificate_file is not None:
        try:
            context.load_cert_chain(
                peer.client_certificate_file,
                peer.client_key_file,
                password=lambda: "",  # else OpenSSL would ask for one on a terminal
            )
        except (OSError, ValueError) as exc:
            raise DestinationUnavailableError(CERTIFICATE_UNREADABLE) from exc
    return context


def refusal_of(status: int) -> NoResponseError:
    """Return the error for a response that is not about the object.

    The object may have caused a server error, so that one counts against this object alone.
    """
    of_this_object = status == _REQUEST_TIMEOUT or (
        httpx.codes.is_server_error(status) and status != _SERVICE_UNAVAILABLE
    )
    return (NoResponseError if of_this_object else DestinationUnavailableError)(f"http-{status}")


def unreachable(error: httpx.TransportError) -> NoResponseError:
    """Return the error for a request that got no response."""
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
