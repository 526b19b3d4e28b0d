"""Who may ask, how much they may send, and what browsers are told: before any page is reached.

The pages have no sign-in, so a stranger's web page in a user's browser must not be able to use
them. Three rules keep it out: the Host header must be ours (else a name could be rebound to us),
a request that changes something must not come from another site, and no page may frame ours.
"""

import ipaddress
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.problem import Problem, answer

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'; script-src 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # not no-referrer: with it browsers send `Origin: null`, which `is_cross_site` refuses
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Guard:
    """The ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, host: str, maximum_body_bytes: int) -> None:
        self._app = app
        self._host = host.lower()
        self._maximum_body_bytes = maximum_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the body bounded and the headers added."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = _with_headers(send, scope)
        problem = self._refuse(scope)
        if problem is not None:
            await answer(Request(scope), problem)(scope, receive, guarded)
        else:
            await self._app(scope, self._bounded(receive), guarded)

    def _refuse(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        if not is_our_host(headers.get("host", ""), self._host):
            return Problem(HTTPStatus.MISDIRECTED_REQUEST, "This is not the host that was meant.")
        if scope["method"] not in _SAFE_METHODS and is_cross_site(headers):
            return Problem(HTTPStatus.FORBIDDEN, "The request came from another site.")
        length = int(headers.get("content-length", "0"))  # a number: the server saw to that
        return self._too_large() if length > self._maximum_body_bytes else None

    def _bounded(self, receive: Receive) -> Receive:
        """Count what comes in: a chunked body has no length to refuse it by."""
        received = 0

        async def _receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._maximum_body_bytes:
                raise self._too_large()
            return message

        return _receive

    def _too_large(self) -> Problem:
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"At most {self._maximum_body_bytes:,} bytes are taken in one request.",
        )


def is_our_host(host: str, configured: str) -> bool:
    """Tell whether a Host header can be meant for us.

    A page whose name an attacker rebinds to our address has a name with dots that the attacker
    owns. So addresses pass, and names without dots, which no stranger can own (`localhost`, a
    container's name), and the configured name.
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not name:
        return False
    return name == configured or "." not in name or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_cross_site(headers: Headers) -> bool:
    """Tell whether a browser says that another site's page made this request.

    Sec-Fetch-Site says it best, but is sent to trustworthy addresses only; Origin comes with every
    POST of a browser. A program that is no browser sends neither and has no user to be abused.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers["host"].lower()


def _with_headers(send: Send, scope: Scope) -> Send:
    headers = dict(_SECURITY_HEADERS)
    is_static = scope["path"].startswith("/static/")
    headers["cache-control"] = "max-age=3600" if is_static else "no-store"
    if "transfer-encoding" in Headers(scope=scope):
        # What is left of a refused body is read and thrown away, so that a browser comes to see
        # the refusal; of a body without a length there may be no end.
        headers["connection"] = "close"

    async def _send(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return _send
