"""How many requests are answered at the same time, by an application that answers when told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from service.web.serving.admission import Admission

MEDIA_TYPE = b"text/html"
STREAM = b"text/event-stream; charset=utf-8"


class Server:
    """An application behind an admission of three requests, two of one address."""

    def __init__(self, content_type: bytes = MEDIA_TYPE) -> None:
        self.may_answer = asyncio.Event()
        self._content_type = content_type
        self._admission = Admission(self._answer, most=3, most_of_one=2, patience=0.2)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        headers = [(b"content-type", self._content_type)]
        if self._content_type == STREAM:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.may_answer.wait()
        if self._content_type != STREAM:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def ask(self, address: str, path: str = "/api/jobs") -> tuple[int, dict[bytes, bytes]]:
        """Return status and headers of the answer."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [],
            "client": (address, 1),
            "app": None,
        }
        await self._admission(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"])


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(test(), 20)

    asyncio.run(limited())


def test_a_request_too_many_of_one_address_is_refused_and_another_address_is_not() -> None:
    async def test() -> None:
        server = Server()
        answered = [asyncio.create_task(server.ask("192.0.2.1")) for _ in range(2)]
        await asyncio.sleep(0)
        status, headers = await server.ask("192.0.2.1")
        assert (status, headers[b"retry-after"]) == (503, b"5")
        answered.append(asyncio.create_task(server.ask("192.0.2.2")))
        await asyncio.sleep(0)
        assert (await server.ask("192.0.2.3"))[0] == 503, "there are three"
        server.may_answer.set()
        assert [(await each)[0] for each in answered] == [200, 200, 200]
        assert (await server.ask("192.0.2.1"))[0] == 200, "their places are free again"

    run(test)


def test_a_place_that_becomes_free_shortly_is_waited_for() -> None:
    async def test() -> None:
        server = Server()
        first = [asyncio.create_task(server.ask("192.0.2.1")) for _ in range(2)]
        await asyncio.sleep(0)
        waiting = asyncio.create_task(server.ask("192.0.2.1"))
        await asyncio.sleep(0.02)
        server.may_answer.set()
        assert [(await each)[0] for each in (*first, waiting)] == [200, 200, 200]

    run(test)


def test_health_and_metrics_are_always_answered() -> None:
    async def test() -> None:
        server = Server()
        busy = [asyncio.create_task(server.ask("192.0.2.1")) for _ in range(2)]
        paths = ("/health/live", "/health/ready", "/metrics")
        asked = [asyncio.create_task(server.ask("192.0.2.1", path)) for path in paths]
        await asyncio.sleep(0)
        server.may_answer.set()
        assert [(await each)[0] for each in (*busy, *asked)] == [200] * 5

    run(test)


def test_a_stream_leaves_its_place_as_it_begins() -> None:
    async def test() -> None:
        server = Server(STREAM)
        streams = [asyncio.create_task(server.ask("192.0.2.1", "/events")) for _ in range(10)]
        for _ in range(3):
            await asyncio.sleep(0)
        server.may_answer.set()
        assert [(await each)[0] for each in streams] == [200] * 10

    run(test)
