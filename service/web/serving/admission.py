"""How many requests are answered at the same time, of all clients and of one.

Streams of events count until they begin; from then on they have a bound of their own
(`service.web.changes`). Health and metrics are always answered.
"""

import asyncio
from collections import Counter
from http import HTTPStatus
from typing import Final, Self

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.telemetry.metrics import WEB_REQUESTS_REFUSED
from service.web.problem import Problem, problem_response
from service.web.sign_in.forwarded import client_address

MOST_REQUESTS: Final = 200
MOST_OF_ONE: Final = 100  # of one address
ALWAYS_ANSWERED: Final = ("/health/", "/metrics")
_STREAM: Final = b"text/event-stream"
_RETRY_SECONDS: Final = 5
_LOOKS: Final = 25  # while a request waits for a place


class Admission:
    """The ASGI middleware that refuses a request while too many are being answered."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        most: int = MOST_REQUESTS,
        most_of_one: int = MOST_OF_ONE,
        patience: float = _RETRY_SECONDS,  # rather than that it comes again then
    ) -> None:
        self._app = app
        self._most = most
        self._most_of_one = most_of_one
        self._patience = patience
        self._of_address: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse it with a 503."""
        if scope["type"] != "http" or scope["path"].startswith(ALWAYS_ANSWERED):
            await self._app(scope, receive, send)
            return
        address = client_address(Request(scope))
        reason = await self._fault_that_stays(address)
        if reason is not None:
            WEB_REQUESTS_REFUSED.labels(reason=reason).inc()
            await problem_response(Request(scope), _TOO_MANY)(scope, receive, send)
            return
        with _Place(self._of_address, address) as place:

            async def _send(message: Message) -> None:
                if message["type"] == "http.response.start" and _is_stream(message):
                    place.leave()
                await send(message)

            await self._app(scope, receive, _send)

    async def _fault_that_stays(self, address: str) -> str | None:
        """Return why there is no place, after waiting for one for a short time.

        The requests of connections that were ended keep theirs until they notice.
        """
        for _ in range(_LOOKS):
            reason = self._fault(address)
            if reason is None:
                return None
            await asyncio.sleep(self._patience / _LOOKS)
        return self._fault(address)

    def _fault(self, address: str) -> str | None:
        if self._of_address.total() >= self._most:
            return "too-many"
        return "too-many-of-one" if self._of_address[address] >= self._most_of_one else None


_TOO_MANY: Final = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Too many requests are being answered. Try again in a few seconds.",
    retry_after=_RETRY_SECONDS,
)


class _Place:
    """The place of one request, left once."""

    def __init__(self, of_address: Counter[str], address: str) -> None:
        self._of_address, self._address = of_address, address
        self._is_taken = False

    def __enter__(self) -> Self:
        self._of_address[self._address] += 1
        self._is_taken = True
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Give the place to another request."""
        if not self._is_taken:
            return
        self._is_taken = False
        self._of_address[self._address] -= 1
        if not self._of_address[self._address]:
            del self._of_address[self._address]


def _is_stream(message: Message) -> bool:
    return any(
        name == b"content-type" and value.startswith(_STREAM) for name, value in message["headers"]
    )
