"""From a notification to the task that it starts in a worker, beside a bare Redis list.

PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.parts.hand_over
"""

import ctypes
import multiprocessing
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import redis
from bench.harness.part import Measurement, Part
from peers.redis_server import RedisServer, program_of

from service.dispatch.notifier import Notifier
from service.domain.queues import INFER
from workers.tasks.celery_worker import work

_PR_SET_PDEATHSIG: Final = 1
_LIST: Final = "bench"
_PAUSE: Final = 0.02  # seconds between two notifications, each of which finds the worker idle
_START_SECONDS: Final = 60
_PROCESSES: Final = multiprocessing.get_context("spawn")


def measure(measurement: Measurement) -> None:
    """Time both ways in turns; each has a process that waits for it."""
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        server = RedisServer(Path(name), program_of("valkey"))
        server.start()
        try:
            _measure(server.url, measurement)
        finally:
            server.kill()


def _measure(url: str, measurement: Measurement) -> None:
    with closing(Notifier(url)) as notifier, redis.Redis.from_url(url) as client:
        ways: dict[str, Callable[[], object]] = {
            "Lobar's notifier and worker": lambda: notifier.notify(INFER),
            "a Redis list": lambda: client.lpush(_LIST, b""),
        }
        waiting = [_start(target, url) for target in (_worker, _reader)]
        try:
            count = 50 if measurement.quick else 200
            for _ in measurement.rounds(2 if measurement.quick else 5):
                for (way, send), (_, heard) in zip(ways.items(), waiting, strict=True):
                    taken = sorted(_once(send, heard) for _ in range(count))
                    measurement.add("ms", "median", way, taken[count // 2])
                    measurement.add("ms", "95th percentile", way, taken[count * 95 // 100])
        finally:
            for process, _ in waiting:
                process.kill()


def _start(
    target: Callable[[str, Connection], None], url: str
) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    heard, told = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=target, args=(url, told), daemon=True)
    process.start()
    if not heard.poll(_START_SECONDS):
        raise TimeoutError(f"{target.__name__} did not start")
    heard.recv()
    return process, heard


def _once(send: Callable[[], object], heard: Connection) -> float:
    """Return the milliseconds from one notification to its task, by one clock of the machine."""
    time.sleep(_PAUSE)
    began = time.monotonic()
    send()
    if not heard.poll(_START_SECONDS):
        raise TimeoutError("a notification was not heard")
    at: float = heard.recv()
    return (at - began) * 1000


def _end_with_parent() -> None:
    """Let the kernel end this process when the one that measures is killed (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _worker(url: str, told: Connection) -> None:
    _end_with_parent()
    ready = threading.Event()

    def tell_ready() -> None:
        ready.wait()
        told.send(0.0)

    threading.Thread(target=tell_ready, daemon=True).start()
    work(
        url,
        INFER,
        lambda *_: told.send(time.monotonic()),
        ready=ready,
        stopping=threading.Event(),
    )


def _reader(url: str, told: Connection) -> None:
    _end_with_parent()
    client: redis.Redis = redis.Redis.from_url(url)
    told.send(0.0)
    while True:
        client.brpop([_LIST])
        told.send(time.monotonic())


PART: Final = Part(
    name="hand-over",
    title="Hand-over",
    text=(
        "From a call of the notifier to the first line of the task in an idle worker of another "
        "process, over the Valkey that `lobar up` starts."
    ),
    ours="Lobar's notifier and worker",
    seconds=15,
    quick_seconds=4,
    measure=measure,
    module="bench.parts.hand_over",
)

if __name__ == "__main__":
    PART.main()
