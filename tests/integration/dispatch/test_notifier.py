"""The bell: heard by real Celery workers, harmless when it fails, and empty of content."""

import base64
import json
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from peers.redis_server import RedisServer
from support.lobar_process import wait_for
from support.ports import LOOPBACK

from service.dispatch.notifier import Notifier, celery_app
from service.domain.queues import DELIVER, INFER
from service.telemetry.metrics import NOTIFICATIONS, NOTIFICATIONS_FAILED

WORKER = """
import sys, threading, time
from pathlib import Path
from service.telemetry.structured_log import configure
from service.settings import LogSettings
from workers.tasks.celery_worker import work

url, heard = sys.argv[1], Path(sys.argv[2])
ready = threading.Event()
configure(LogSettings(level="error"))

def note(line):
    with heard.open("a") as stream:
        stream.write(line + "\\n")

def task(*lane):
    note("begin " + " ".join(lane))
    if lane == ("slow",):
        time.sleep(1)
    note("end " + " ".join(lane))

threading.Thread(target=lambda: (ready.wait(), note("ready")), daemon=True).start()
work(url, "deliver", task, ready=ready, stopping=threading.Event())
note("left")
"""

BOTH_SERVERS = pytest.mark.parametrize("redis_server", ["redis", "valkey"], indirect=True)


class Listener:
    """A Celery worker in a process of its own that writes down what it hears."""

    def __init__(self, folder: Path, url: str) -> None:
        self._heard, self.log = folder / "heard", folder / "log"
        folder.mkdir()
        self._heard.touch()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WORKER, url, str(self._heard)], stderr=log
            )

    def heard(self) -> list[str]:
        return self._heard.read_text().splitlines()

    def hears(self, line: str, times: int = 1) -> None:
        wait_for(lambda: self.heard().count(line) >= times, seconds=60)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as connection:
        yield connection


@pytest.fixture
def bell(redis_server: RedisServer) -> Iterator[Notifier]:
    notifier = Notifier(redis_server.url)
    yield notifier
    notifier.close()


@pytest.fixture
def listener(tmp_path: Path, redis_server: RedisServer) -> Iterator[Callable[[], Listener]]:
    started: list[Listener] = []

    def start() -> Listener:
        started.append(Listener(tmp_path / str(len(started)), redis_server.url))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def rung(queue: str) -> float:
    return float(NOTIFICATIONS.labels(queue=queue)._value.get())


def failed(queue: str) -> float:
    return float(NOTIFICATIONS_FAILED.labels(queue=queue)._value.get())


@BOTH_SERVERS
def test_a_message_is_json_and_says_nothing_but_the_lane(
    bell: Notifier, client: redis.Redis
) -> None:
    bell.notify(DELIVER, "pacs")
    bell.notify(INFER)
    wait_for(lambda: client.llen(DELIVER) and client.llen(INFER))
    for queue, lane in ((DELIVER, ["pacs"]), (INFER, [])):
        (raw,) = client.lrange(queue, 0, -1)
        message = json.loads(raw)
        assert message["content-type"] == "application/json"
        args, kwargs, embedded = json.loads(base64.b64decode(message["body"]))
        assert (args, kwargs) == (lane, {})
        assert set(filter(None, embedded.values())) == set()
        assert message["headers"]["task"] == queue
        assert message["headers"]["argsrepr"] == repr(tuple(lane))
    assert sorted(client.keys()) == [DELIVER.encode(), INFER.encode()], "no bindings to lose"


@BOTH_SERVERS
def test_rings_do_not_pile_up_where_nobody_listens(bell: Notifier, client: redis.Redis) -> None:
    before = rung(INFER)
    for number in range(30):
        bell.notify(INFER)
        wait_for(lambda expected=before + number + 1: rung(INFER) >= expected)
    assert client.llen(INFER) == 16


def test_a_ring_returns_though_redis_never_answers_and_is_counted() -> None:
    with socket.socket() as silent:
        silent.bind((LOOPBACK, 0))
        silent.listen()
        bell = Notifier(f"redis://{LOOPBACK}:{silent.getsockname()[1]}/0")
        before = failed(INFER)
        bell.notify(INFER)
        assert failed(INFER) == before, "it did not wait for the answer that never comes"
        wait_for(lambda: failed(INFER) == before + 1)
        bell.close()


def test_rings_are_lost_while_redis_is_down_and_heard_again_when_it_is_back(
    bell: Notifier,
    redis_server: RedisServer,
    client: redis.Redis,
) -> None:
    bell.notify(INFER)
    wait_for(lambda: client.llen(INFER) == 1)
    redis_server.kill()
    before = failed(INFER)
    bell.notify(INFER)
    wait_for(lambda: failed(INFER) == before + 1)
    redis_server.start()
    bell.notify(INFER)
    wait_for(lambda: client.llen(INFER) == 1)


def test_the_bell_outlives_a_redis_that_answers_nonsense(
    bell: Notifier, client: redis.Redis
) -> None:
    client.set(INFER, "no queue")
    before = failed(INFER)
    bell.notify(INFER)
    wait_for(lambda: failed(INFER) == before + 1)
    client.delete(INFER)
    bell.notify(INFER)
    wait_for(lambda: client.llen(INFER) == 1)


def test_what_was_asked_for_before_the_end_is_still_rung(
    redis_server: RedisServer,
    client: redis.Redis,
) -> None:
    bell = Notifier(redis_server.url)
    bell.notify(DELIVER, "north")
    bell.notify(DELIVER, "south")
    bell.notify(DELIVER, "south")
    bell.close()
    assert client.llen(DELIVER) == 2


def test_a_connection_that_dies_without_a_word_is_noticed_soon(redis_server: RedisServer) -> None:
    with celery_app(redis_server.url).connection() as connection:
        pool = connection.default_channel.client.connection_pool
        plug = pool.get_connection()
        try:
            idle = plug._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            unanswered = plug._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert (idle, unanswered) == (10, 25_000)
        finally:
            pool.release(plug)


@BOTH_SERVERS
def test_a_worker_hears_every_lane_whatever_happens_to_redis_in_between(
    bell: Notifier,
    redis_server: RedisServer,
    client: redis.Redis,
    listener: Callable[[], Listener],
) -> None:
    worker = listener()
    worker.hears("ready")
    bell.notify(DELIVER, "north")
    worker.hears("end north")
    client.flushall()
    bell.notify(DELIVER, "flushed")
    worker.hears("end flushed")
    redis_server.kill()
    redis_server.start()

    def hears_again() -> bool:  # the first rings may find the worker reconnecting
        bell.notify(DELIVER, "restarted")
        return "end restarted" in worker.heard()

    wait_for(hears_again, seconds=60)
    assert worker.stop() == 0


def test_a_worker_survives_what_strangers_put_into_its_queue(
    bell: Notifier,
    client: redis.Redis,
    listener: Callable[[], Listener],
    tmp_path: Path,
) -> None:
    bell.notify(DELIVER, "template")
    wait_for(lambda: client.llen(DELIVER) == 1)
    good = json.loads(client.lpop(DELIVER))
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
    worker = listener()
    worker.hears("ready")
    bell.notify(DELIVER, "after")
    worker.hears("end after")
    assert not canary.exists()
    assert worker.stop() == 0


class Canary:
    """Unpickled, it touches a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._path,))


def test_a_worker_told_to_stop_finishes_what_it_does(
    bell: Notifier, listener: Callable[[], Listener]
) -> None:
    worker = listener()
    worker.hears("ready")
    bell.notify(DELIVER, "slow")
    worker.hears("begin slow")
    assert worker.stop() == 0
    assert worker.heard()[-2:] == ["end slow", "left"]


def test_a_worker_waits_for_a_redis_that_is_not_there_yet_and_can_be_stopped_meanwhile(
    redis_server: RedisServer, listener: Callable[[], Listener], bell: Notifier
) -> None:
    redis_server.stop()
    worker, patient = listener(), listener()
    wait_for(lambda: "celery.worker.consumer" in worker.log.read_text())
    assert worker.stop() == 0
    assert "ready" not in worker.heard()
    redis_server.start()
    patient.hears("ready")
    bell.notify(DELIVER, "north")
    patient.hears("end north")
