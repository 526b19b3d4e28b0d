"""Server-sent events: that the ledger changed, to as many as may listen, until they may not."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from support.web_server import Web

from service.domain.user import Permission, Role
from service.storage.ledger import LedgerError
from service.web.changes import MOST_STREAMS_OF_ONE, Changes, TooManyStreamsError

PATIENCE = 20.0


@contextmanager
def stream(client: httpx.Client) -> Iterator[Iterator[str]]:
    with client.stream("GET", "/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield answer.iter_lines()


def next_revision(lines: Iterator[str]) -> str:
    for line in lines:
        if line.startswith("data: "):
            return line.removeprefix("data: ")
    raise AssertionError("the stream ended")


def test_a_page_is_told_of_each_change_and_not_of_the_patient(web: Web) -> None:
    client = web.sign_in(Role.RADIOLOGIST)
    with stream(client) as lines:
        first = next_revision(lines)
        job_id = web.receive()
        second = next_revision(lines)
    assert first != second == web.ledger.worklist.revision()
    assert job_id[:8] not in second


def test_a_heartbeat_comes_while_nothing_changes(web: Web) -> None:
    with stream(web.client) as lines:
        assert ": still here" in (next(lines) for _ in range(50))


def test_a_stream_ends_with_its_session(web: Web) -> None:
    client = web.sign_in(Role.VIEWER)
    with stream(client) as lines:
        next_revision(lines)
        web.ledger.sessions.end(next(iter(client.cookies.values())))
        assert "event: signed-out" in list(lines)  # it ends: the list is complete
    assert client.get("/events").status_code == 303, "to the sign-in"


def test_the_pages_without_a_sign_in_may_listen_until_there_is_a_user(web: Web) -> None:
    with stream(web.client) as lines:
        next_revision(lines)
        web.sign_in(Role.ADMIN)
        assert "event: signed-out" in list(lines)


def test_open_streams_do_not_hold_up_the_end_of_the_server(tmp_path: Path) -> None:
    """The server of the tests waits for its requests without any limit."""
    ended: list[str] = []
    is_open = threading.Event()
    web = Web(tmp_path / "state")

    def listen() -> None:
        with (
            httpx.Client(base_url=web.client.base_url, timeout=PATIENCE) as client,
            stream(client) as lines,
        ):
            next_revision(lines)
            is_open.set()
            ended.extend(lines)

    listener = threading.Thread(target=listen)
    with web.running():
        listener.start()
        assert is_open.wait(PATIENCE)
    listener.join(PATIENCE)
    assert not listener.is_alive()


class Ledger:
    """A double of the ledger's revision, which counts how often it is read."""

    def __init__(self) -> None:
        self.revision = "1"
        self.readings = 0
        self.is_silent = False

    def read(self) -> str:
        self.readings += 1
        if self.is_silent:
            raise LedgerError("silent")
        return self.revision


async def always() -> bool:
    return True


async def listen(
    changes: Changes, is_welcome: Callable[[], Awaitable[bool]] = always, whose: str = "anna"
) -> AsyncIterator[str]:
    with changes.place(whose) as wake_up:
        async for message in changes.follow(wake_up, is_welcome):
            yield message


async def until_data(messages: AsyncIterator[str]) -> str:
    async for message in messages:
        if "data: " in message:
            return message
    raise AssertionError("the stream ended")


def quick(ledger: Ledger, most_streams: int = 10) -> Changes:
    return Changes(
        ledger.read, read_seconds=0.01, heartbeat_seconds=0.05, most_streams=most_streams
    )


def test_one_reader_serves_all_streams_and_stops_with_the_last() -> None:
    ledger = Ledger()

    async def main() -> None:
        changes = quick(ledger)
        streams = [listen(changes) for _ in range(5)]
        assert (
            await asyncio.gather(*(until_data(each) for each in streams))
            == ["event: changed\ndata: 1\n\n"] * 5
        )
        assert ledger.readings == 1
        assert changes.streams == 5
        ledger.revision = "2"
        await asyncio.gather(*(until_data(each) for each in streams))
        for each in streams:
            await each.aclose()  # type: ignore[attr-defined]
        assert changes.streams == 0
        await asyncio.sleep(0.1)
        readings = ledger.readings
        await asyncio.sleep(0.1)
        assert ledger.readings == readings
        await until_data(listen(changes))

    asyncio.run(main())


def test_a_ledger_that_is_silent_ends_no_stream() -> None:
    ledger = Ledger()
    ledger.is_silent = True

    async def main() -> None:
        messages = listen(quick(ledger))
        assert [await anext(messages) for _ in range(2)] == ["retry: 3000\n\n", ": still here\n\n"]
        ledger.is_silent = False
        assert await until_data(messages) == "event: changed\ndata: 1\n\n"

    asyncio.run(main())


def test_more_streams_than_may_be_are_refused() -> None:
    async def main() -> None:
        changes = quick(Ledger(), most_streams=2)
        streams = [listen(changes) for _ in range(2)]
        for each in streams:
            await until_data(each)
        with pytest.raises(TooManyStreamsError), changes.place("bob"):
            pass
        await streams[0].aclose()  # type: ignore[attr-defined]
        with changes.place("bob"):
            assert changes.streams == 2, "a place counts before its stream begins"
            with pytest.raises(TooManyStreamsError), changes.place("carl"):
                pass
        changes.end()
        with pytest.raises(TooManyStreamsError), changes.place("bob"):
            pass
        assert [each async for each in streams[1]] == []

    asyncio.run(main())


def test_one_person_cannot_take_all_places() -> None:
    changes = quick(Ledger(), most_streams=100)
    with ExitStack() as places:
        for _ in range(MOST_STREAMS_OF_ONE):
            places.enter_context(changes.place("anna"))
        with pytest.raises(TooManyStreamsError), changes.place("anna"):
            pass
        places.enter_context(changes.place("bob"))
    assert changes.streams == 0


def test_a_ninth_page_of_a_person_is_told_that_it_is_not_kept_up_to_date(web: Web) -> None:
    client = web.sign_in(Role.RADIOLOGIST)
    with ExitStack() as streams:
        # an iterator that nobody has any more would close its stream
        opened = [streams.enter_context(stream(client)) for _ in range(MOST_STREAMS_OF_ONE)]
        assert len({next_revision(lines) for lines in opened}) == 1
        with client.stream("GET", "/events") as refused:
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
            assert "Too many pages are open" in refused.read().decode()
        with stream(web.sign_in(Role.VIEWER)) as lines:
            next_revision(lines)


def test_a_stream_of_an_address_that_may_not_try_any_more_ends(tmp_path: Path) -> None:
    with Web(tmp_path / "state", sign_in={"attempts_per_minute": 1}).running() as web:
        web.sign_in(Role.VIEWER, "anna")
        _, token = web.ledger.api_tokens.add("anna", label="a", scopes={Permission.VIEW})
        with stream(web.program(token)) as lines:
            next_revision(lines)
            web.program("lobar_forged").get("/api/jobs")
            assert "event: signed-out" in list(lines)


def test_a_browser_that_goes_away_frees_its_place(tmp_path: Path) -> None:
    web = Web(tmp_path / "state")
    with web.running():
        for _ in range(3):
            with stream(web.client) as lines:
                next_revision(lines)
        until = time.monotonic() + PATIENCE
        while web.changes.streams and time.monotonic() < until:
            time.sleep(0.05)
        assert web.changes.streams == 0
