"""Tell open pages that the ledger changed, by server-sent events.

One task reads the ledger's revision for all streams, and only while there is one. A stream holds no
thread. What is sent is the revision alone: a page then fetches what it may show.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
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
MOST_STREAMS: Final = 100  # beside the requests that are answered at a time, see `Admission`
MOST_STREAMS_OF_ONE: Final = 8
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
    """There are as many streams as may be, of all or of one person."""


class Changes:
    """Watches the ledger for the streams.

    Args:
        revision: reads the ledger's revision; may raise `LedgerError`.
        read_seconds: time between two readings.
        heartbeat_seconds: time between two messages of a stream at most.
        most_streams: how many there may be.
        most_of_one: how many of them of one person.
    """

    def __init__(
        self,
        revision: Callable[[], str],
        *,
        read_seconds: float = READ_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        most_streams: int = MOST_STREAMS,
        most_of_one: int = MOST_STREAMS_OF_ONE,
    ) -> None:
        self._read = revision
        self._read_seconds = read_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._most_streams = most_streams
        self._most_of_one = most_of_one
        self._revision: str | None = None
        self._wake_ups: dict[asyncio.Event, str] = {}  # and whose they are
        self._reader: asyncio.Task[None] | None = None
        self._has_ended = False

    @property
    def streams(self) -> int:
        """The number of open streams."""
        return len(self._wake_ups)

    @contextmanager
    def place(self, whose: str) -> Iterator[asyncio.Event]:
        """Reserve the place of one stream until the block ends, in whatever way.

        Args:
            whose: who opens it: a person, or an address.

        Yields:
            What wakes the stream up, for `follow`.

        Raises:
            TooManyStreamsError: there are too many.
        """
        of_one = sum(each == whose for each in self._wake_ups.values())
        is_full = self.streams >= self._most_streams or of_one >= self._most_of_one
        if self._has_ended or is_full:
            raise TooManyStreamsError
        wake_up = asyncio.Event()
        self._wake_ups[wake_up] = whose
        try:
            yield wake_up
        finally:
            del self._wake_ups[wake_up]

    def end(self) -> None:
        """End all streams, for good; called in the event loop."""
        self._has_ended = True
        for wake_up in self._wake_ups:
            wake_up.set()

    async def follow(
        self, wake_up: asyncio.Event, is_welcome: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[str]:
        """Yield the messages of one stream, the first at once.

        Args:
            wake_up: the stream's, of its `place`.
            is_welcome: whether the stream may go on; asked before each heartbeat.
        """
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._watch())
        sent: str | None = None
        asked_at = time.monotonic()
        yield f"retry: {_RETRY_MILLISECONDS}\n\n"
        while not self._has_ended:
            wake_up.clear()
            if self._revision is not None and self._revision != sent:
                sent = self._revision
                yield f"event: changed\ndata: {sent}\n\n"
            with suppress(TimeoutError):
                await asyncio.wait_for(wake_up.wait(), self._heartbeat_seconds)
            if time.monotonic() - asked_at >= self._heartbeat_seconds:
                if not await is_welcome():
                    yield "event: signed-out\ndata:\n\n"
                    return
                asked_at = time.monotonic()
                yield ": still here\n\n"

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
