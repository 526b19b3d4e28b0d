"""What a trusted proxy says of a request: the client's address, and whether it came over https."""

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_FROM_PROXY: Final = "from_proxy"


class Forwarded:
    """The outermost ASGI middleware: of requests by trusted proxies it takes what they forwarded.

    `X-Forwarded-For` and `X-Forwarded-Proto` of other clients have no effect.
    """

    def __init__(self, app: ASGIApp, addresses: Sequence[str]) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(each) for each in addresses]
        inner: Any = self._with_valid_client
        self._trusting = ProxyHeadersMiddleware(inner, trusted_hosts=list(addresses))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note whether a proxy sent the request, and pass it on with what that says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer = scope.get("client")
        is_proxys = self._is_trusted(peer[0]) if peer else False
        state = {**scope.get("state", {}), _FROM_PROXY: is_proxys}
        noted: Any = {**scope, "state": state, "peer": peer}
        trusting: Any = self._trusting
        await (trusting if is_proxys else self._app)(noted, receive, send)

    async def _with_valid_client(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keep the proxy's own address where what it forwards is none."""
        client = scope.get("client")
        if client is not None and not _is_address(client[0]):
            scope["client"] = scope["peer"]
        await self._app(scope, receive, send)

    def _is_trusted(self, host: str) -> bool:
        return _is_address(host) and any(
            ipaddress.ip_address(host) in network for network in self._networks
        )


def is_from_proxy(request: Request) -> bool:
    """Return whether a trusted proxy sent the request itself."""
    return bool(getattr(request.state, _FROM_PROXY, False))


def client_address(request: Request) -> str:
    """Return the client's address; behind a trusted proxy, what that forwards."""
    return request.client.host if request.client else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
