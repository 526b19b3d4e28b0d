"""Tell open pages that the ledger changed, by server-sent events.

One task reads the ledger's revision for all streams, and only while there is one. A stream holds no
thread. What is sent is the revision alone: a page then fetches what it may show.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import structlog
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from service.storage.ledger import LedgerError

EVENTS_PATH: Final = "/events"
BY_ITSELF_HEADER: Final = "x-lobar-by-itself"
BY_ITSELF_FIELD: Final = "by-itself"
READ_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 10.0
MOST_STREAMS: Final = 100  # half of the requests that the server takes at a time
_RETRY_MILLISECONDS: Final = 3000

log = structlog.get_logger()


def is_by_itself(request: Request) -> bool:
    """Return whether an open page sends a request by itself, so that it is no sign of a person.

    A session that only such requests use is idle.
    """
    return (
        request.scope["path"] == EVENTS_PATH
        or BY_ITSELF_HEADER in request.headers
        or BY_ITSELF_FIELD in request.query_params  # of a page that reloads without a script
    )


class TooManyStreamsError(Exception):
    """There are as many streams as may be."""


class Changes:
    """Watches the ledger for the streams.

    Args:
        revision: reads the ledger's revision; may raise `LedgerError`.
        read_seconds: time between two readings.
        heartbeat_seconds: time between two messages of a stream at most.
        most_streams: how many there may be.
    """

    def __init__(
        self,
        revision: Callable[[], str],
        *,
        read_seconds: float = READ_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        most_streams: int = MOST_STREAMS,
    ) -> None:
        self._read = revision
        self._read_seconds = read_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._most_streams = most_streams
        self._revision: str | None = None
        self._wake_ups: set[asyncio.Event] = set()
        self._reader: asyncio.Task[None] | None = None
        self._has_ended = False

    @property
    def streams(self) -> int:
        """The number of open streams."""
        return len(self._wake_ups)

    def require_room(self) -> None:
        """Require that one more stream may open.

        Raises:
            TooManyStreamsError: there are too many.
        """
        if self._has_ended or self.streams >= self._most_streams:
            raise TooManyStreamsError

    def end(self) -> None:
        """End all streams, for good; called in the event loop."""
        self._has_ended = True
        for wake_up in self._wake_ups:
            wake_up.set()

    async def follow(self, is_welcome: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
        """Yield the messages of one stream, the first at once.

        Args:
            is_welcome: whether the stream may go on; asked before each heartbeat.
        """
        wake_up = asyncio.Event()
        self._wake_ups.add(wake_up)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._watch())
        sent: str | None = None
        asked_at = time.monotonic()
        try:
            yield f"retry: {_RETRY_MILLISECONDS}\n\n"
            while not self._has_ended:
                wake_up.clear()
                if self._revision is not None and self._revision != sent:
                    sent = self._revision
                    yield f"event: changed\ndata: {sent}\n\n"
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake_up.wait(), self._heartbeat_seconds)
                if time.monotonic() - asked_at >= self._heartbeat_seconds:
                    if not await is_welcome():
                        yield "event: signed-out\ndata:\n\n"
                        return
                    asked_at = time.monotonic()
                    yield ": still here\n\n"
        finally:
            self._wake_ups.discard(wake_up)

    async def _watch(self) -> None:
        """Read the revision until no stream is left."""
        one_thread = CapacityLimiter(1)
        try:
            while self._wake_ups and not self._has_ended:
                await self._read_once(one_thread)
                await asyncio.sleep(self._read_seconds)
        finally:
            self._revision = None  # the next reader begins anew

    async def _read_once(self, limiter: CapacityLimiter) -> None:
        try:
            revision = await to_thread.run_sync(self._read, limiter=limiter)
        except LedgerError:  # the pages say so; the next reading may succeed
            log.warning("ledger_revision_unknown")
            return
        if revision != self._revision:
            self._revision = revision
            for wake_up in self._wake_ups:
                wake_up.set()
