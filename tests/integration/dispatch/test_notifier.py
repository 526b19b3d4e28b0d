"""The notifier: received by real Celery workers, harmless when it fails, without content."""

import base64
import json
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from peers.redis_server import RedisServer
from support.lobar_process import wait_for
from support.system.ports import LOOPBACK

from service.dispatch.notifier import Notifier, celery_app
from service.domain.queues import DELIVER, INFER
from service.telemetry.metrics import NOTIFICATIONS, NOTIFICATIONS_FAILED

WORKER = """
import gc, sys, threading, time
from pathlib import Path
from kombu.transport.virtual import QoS
from service.telemetry.structured_log import configure
from service.settings import LogSettings
from workers.tasks.celery_worker import work

url, record = sys.argv[1], Path(sys.argv[2])
ready = threading.Event()
configure(LogSettings(level="error"))

def note(line):
    with record.open("a") as stream:
        stream.write(line + "\\n")

def task(*arguments):
    note("begin " + " ".join(arguments))
    if arguments == ("slow",):
        time.sleep(1)
    if arguments == ("count",):
        (state,) = (each for each in gc.get_objects() if isinstance(each, QoS))
        note(f"remembered {len(state._dirty) + len(state._delivered)}")
    note("end " + " ".join(arguments))

threading.Thread(target=lambda: (ready.wait(), note("ready")), daemon=True).start()
work(url, "deliver", task, ready=ready, stopping=threading.Event())
note("left")
"""

BOTH_SERVERS = pytest.mark.parametrize("redis_server", ["redis", "valkey"], indirect=True)


class Worker:
    """A Celery worker in its own process that records the tasks it receives."""

    def __init__(self, folder: Path, url: str) -> None:
        self._record, self.log = folder / "record", folder / "log"
        folder.mkdir()
        self._record.touch()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WORKER, url, str(self._record)], stderr=log
            )

    def lines(self) -> list[str]:
        return self._record.read_text().splitlines()

    def wait_for_line(self, line: str, times: int = 1) -> None:
        wait_for(lambda: self.lines().count(line) >= times, seconds=60)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as connection:
        yield connection


@pytest.fixture
def notifier(redis_server: RedisServer) -> Iterator[Notifier]:
    notifier = Notifier(redis_server.url)
    yield notifier
    notifier.close()


@pytest.fixture
def start_worker(tmp_path: Path, redis_server: RedisServer) -> Iterator[Callable[[], Worker]]:
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(tmp_path / str(len(started)), redis_server.url))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def sent(queue: str) -> float:
    return float(NOTIFICATIONS.labels(queue=queue)._value.get())


def wait_until_sent(queue: str, number: float) -> None:
    wait_for(lambda: sent(queue) >= number)


def failed(queue: str) -> float:
    return float(NOTIFICATIONS_FAILED.labels(queue=queue)._value.get())


@BOTH_SERVERS
def test_a_message_is_json_and_names_nothing_but_the_destination(
    notifier: Notifier, client: redis.Redis
) -> None:
    notifier.notify(DELIVER, "pacs")
    notifier.notify(INFER)
    wait_for(lambda: client.llen(DELIVER) and client.llen(INFER))
    for queue, expected in ((DELIVER, ["pacs"]), (INFER, [])):
        (raw,) = client.lrange(queue, 0, -1)
        message = json.loads(raw)
        assert message["content-type"] == "application/json"
        args, kwargs, embedded = json.loads(base64.b64decode(message["body"]))
        assert (args, kwargs) == (expected, {})
        assert set(filter(None, embedded.values())) == set()
        assert message["headers"]["task"] == queue
        assert message["headers"]["argsrepr"] == repr(tuple(expected))
        assert message["headers"]["expires"] is None, "the clock of its worker may be another"
    assert sorted(client.keys()) == [DELIVER.encode(), INFER.encode()], "no bindings to lose"


@BOTH_SERVERS
def test_nothing_is_kept_of_a_message_that_was_received(
    notifier: Notifier, client: redis.Redis, start_worker: Callable[[], Worker]
) -> None:
    worker = start_worker()
    worker.wait_for_line("ready")
    for number in range(10):
        notifier.notify(DELIVER, str(number))
        worker.wait_for_line(f"end {number}")
    notifier.notify(DELIVER, "count")
    worker.wait_for_line("end count")
    assert "remembered 0" in worker.lines()
    assert client.keys("unacked*") == []
    commands = client.info("commandstats")
    assert {"cmdstat_brpop"} <= commands.keys()
    assert not {"cmdstat_zrem", "cmdstat_hdel"} & commands.keys(), "for each message"


@BOTH_SERVERS
@pytest.mark.parametrize(("queue", "named", "most"), [(INFER, (), 1), (DELIVER, ("pacs",), 16)])
def test_notifications_do_not_pile_up_without_a_worker(
    notifier: Notifier, client: redis.Redis, queue: str, named: tuple[str, ...], most: int
) -> None:
    before = sent(queue)
    for number in range(30):
        notifier.notify(queue, *named)
        wait_until_sent(queue, before + number + 1)
    assert client.llen(queue) == most


def test_notify_returns_though_redis_never_responds_and_the_failure_is_counted() -> None:
    with socket.socket() as silent:
        silent.bind((LOOPBACK, 0))
        silent.listen()
        notifier = Notifier(f"redis://{LOOPBACK}:{silent.getsockname()[1]}/0")
        before = failed(INFER)
        notifier.notify(INFER)
        assert failed(INFER) == before, "it did not wait for the answer that never comes"
        wait_for(lambda: failed(INFER) == before + 1)
        notifier.close()


def test_notifications_are_lost_while_redis_is_down_and_sent_again_when_it_is_back(
    notifier: Notifier,
    redis_server: RedisServer,
    client: redis.Redis,
) -> None:
    notifier.notify(INFER)
    wait_for(lambda: client.llen(INFER) == 1)
    redis_server.kill()
    before = failed(INFER)
    notifier.notify(INFER)
    wait_for(lambda: failed(INFER) == before + 1)
    redis_server.start()
    notifier.notify(INFER)
    wait_for(lambda: client.llen(INFER) == 1)


def test_the_notifier_outlives_a_redis_that_answers_nonsense(
    notifier: Notifier, client: redis.Redis
) -> None:
    client.set(INFER, "no queue")
    before = failed(INFER)
    notifier.notify(INFER)
    wait_for(lambda: failed(INFER) == before + 1)
    client.delete(INFER)
    notifier.notify(INFER)
    wait_for(lambda: client.llen(INFER) == 1)


def test_what_was_requested_before_closing_is_still_sent(
    redis_server: RedisServer,
    client: redis.Redis,
) -> None:
    notifier = Notifier(redis_server.url)
    notifier.notify(DELIVER, "north")
    notifier.notify(DELIVER, "south")
    notifier.notify(DELIVER, "south")
    notifier.close()
    assert client.llen(DELIVER) == 2


def test_what_is_requested_soon_after_is_sent_as_one(redis_server: RedisServer) -> None:
    sent = NOTIFICATIONS.labels(queue=INFER)._value
    before = sent.get()
    notifier = Notifier(redis_server.url, pause_seconds=3600)
    notifier.notify(INFER)
    wait_for(lambda: sent.get() == before + 1, seconds=60)
    for _ in range(20):
        notifier.notify(INFER)
    notifier.close()  # ends the pause
    assert sent.get() == before + 2


def test_a_connection_that_vanishes_is_noticed_soon(redis_server: RedisServer) -> None:
    with celery_app(redis_server.url).connection() as connection:
        channel: Any = connection.default_channel  # kombu's base class has no client
        pool = channel.client.connection_pool
        plug = pool.get_connection()
        try:
            idle = plug._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            unanswered = plug._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert (idle, unanswered) == (10, 25_000)
        finally:
            pool.release(plug)


@BOTH_SERVERS
def test_a_worker_receives_every_destination_whatever_happens_to_redis_in_between(
    notifier: Notifier,
    redis_server: RedisServer,
    client: redis.Redis,
    start_worker: Callable[[], Worker],
) -> None:
    worker = start_worker()
    worker.wait_for_line("ready")
    notifier.notify(DELIVER, "north")
    worker.wait_for_line("end north")
    client.flushall()
    notifier.notify(DELIVER, "flushed")
    worker.wait_for_line("end flushed")
    redis_server.kill()
    redis_server.start()

    def receives_again() -> bool:  # the first notifications may find the worker reconnecting
        notifier.notify(DELIVER, "restarted")
        return "end restarted" in worker.lines()

    wait_for(receives_again)
    assert worker.stop() == 0


def test_a_worker_survives_foreign_messages_in_its_queue(
    notifier: Notifier,
    client: redis.Redis,
    start_worker: Callable[[], Worker],
    tmp_path: Path,
) -> None:
    notifier.notify(DELIVER, "template")
    wait_for(lambda: client.llen(DELIVER) == 1)
    template = client.lpop(DELIVER)
    assert isinstance(template, bytes)
    good = json.loads(template)
    canary = tmp_path / "unpickled"
    poison = base64.b64encode(pickle.dumps(Canary(canary))).decode()
    unknown = {**good, "headers": {**good["headers"], "task": "os.system"}}
    for message in (
        {**good, "body": poison, "content-type": "application/x-python-serialize"},
        {**good, "body": base64.b64encode(b"{").decode()},
        unknown,
        {**good, "body": base64.b64encode(b'[[1, {"a": 2}], {"x": 1}, {}]').decode()},
    ):
        client.lpush(DELIVER, json.dumps(message))
    worker = start_worker()
    worker.wait_for_line("ready")
    notifier.notify(DELIVER, "after")
    worker.wait_for_line("end after")
    assert not canary.exists()
    assert worker.stop() == 0


class Canary:
    """Unpickled, it touches a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._path,))


def test_a_worker_that_is_stopped_finishes_its_task(
    notifier: Notifier, start_worker: Callable[[], Worker]
) -> None:
    worker = start_worker()
    worker.wait_for_line("ready")
    notifier.notify(DELIVER, "slow")
    worker.wait_for_line("begin slow")
    assert worker.stop() == 0
    assert worker.lines()[-2:] == ["end slow", "left"]


def test_a_worker_waits_for_a_redis_that_is_not_there_yet_and_can_be_stopped_meanwhile(
    redis_server: RedisServer, start_worker: Callable[[], Worker], notifier: Notifier
) -> None:
    redis_server.stop()
    worker, patient = start_worker(), start_worker()
    wait_for(lambda: "celery.worker.consumer" in worker.log.read_text())
    assert worker.stop() == 0
    assert "ready" not in worker.lines()
    redis_server.start()
    patient.wait_for_line("ready")
    notifier.notify(DELIVER, "north")
    patient.wait_for_line("end north")
