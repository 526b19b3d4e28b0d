"""Check each request before any page handles it, and add security headers to each response.

A foreign web page in a user's browser must not be able to use the pages: while there is no user
they are open, a browser sends the cookie of a session by itself, and a proxy adds who its user is
to every request. Three rules prevent that, whatever way the sender is recognised: the Host header
must name this service (else a name could be rebound to its address), a request that changes
something must not come from another site, and no other page may frame one of these.
"""

import ipaddress
from collections.abc import Collection
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.problem import Problem, problem_response

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM: Final = "application/x-www-form-urlencoded"
_LARGEST_FORM: Final = 1 << 16
_SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'; script-src 'self'; img-src 'self' blob:"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # not no-referrer: with it browsers send `Origin: null`, which `is_cross_site` refuses
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Guard:
    """The ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, names: Collection[str], maximum_body_bytes: int) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names)
        self._maximum_body_bytes = maximum_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on with a bounded body; add the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = _with_headers(send, scope)
        problem = self._refuse(scope)
        if problem is not None:
            await problem_response(Request(scope), problem)(scope, receive, guarded)
        else:
            limit = self._limit(Headers(scope=scope))
            await self._app(scope, self._bounded(receive, limit), guarded)

    def _refuse(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        if not is_our_host(headers.get("host", ""), self._names):
            return Problem(HTTPStatus.MISDIRECTED_REQUEST, "This is not the host that was meant.")
        if scope["method"] not in _SAFE_METHODS and is_cross_site(headers):
            return Problem(HTTPStatus.FORBIDDEN, "The request came from another site.")
        length = int(headers.get("content-length", "0"))  # a number: the server has checked that
        limit = self._limit(headers)
        return _too_large(limit) if length > limit else None

    def _limit(self, headers: Headers) -> int:
        """Return how many bytes a body may have: a form is read before a sign-in is checked."""
        is_form = headers.get("content-type", "").lower().startswith(_FORM)
        return min(_LARGEST_FORM, self._maximum_body_bytes) if is_form else self._maximum_body_bytes

    def _bounded(self, receive: Receive, limit: int) -> Receive:
        """Count the bytes received: a chunked body states no length."""
        received = 0

        async def _receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
            return message

        return _receive


def _too_large(limit: int) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"At most {limit:,} bytes are taken in one request.",
    )


def is_our_host(host: str, configured: Collection[str]) -> bool:
    """Return whether a Host header can mean this service.

    A name that an attacker rebinds to our address has dots and belongs to the attacker. So
    addresses pass, and names without dots, which nobody outside can own (`localhost`, a
    container's name), and the configured names.
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not name:
        return False
    return name in configured or "." not in name or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_cross_site(headers: Headers) -> bool:
    """Return whether, by a browser's headers, another site's page made this request.

    Sec-Fetch-Site is the most precise, but is sent to trustworthy addresses only; Origin comes with
    every POST of a browser. Other programs send neither, and act for no user unknowingly.
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
        # The rest of a refused body is read and discarded, so that a browser gets to see the
        # response; a body without a length may never end.
        headers["connection"] = "close"

    async def _send(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return _send
