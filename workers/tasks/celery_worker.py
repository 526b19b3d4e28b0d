"""A Celery worker for one queue: messages only wake it, the ledger holds the work."""

import threading
from collections.abc import Callable
from typing import Literal

from celery import signals
from celery.worker.request import Request

from service.dispatch.notifier import celery_app


def work(
    redis_url: str,
    queue: str,
    task: Callable[..., None],
    *,
    ready: threading.Event,
    stopping: threading.Event,
    pool: Literal["solo", "threads"] = "solo",
    concurrency: int = 1,
) -> None:
    """Run `task` at every message of a queue until SIGTERM, then finish what runs.

    Args:
        redis_url: the broker.
        queue: the name of the queue, which is also the task's.
        task: called with the message's arguments.
        ready: set while messages can be received.
        stopping: set as soon as the signal comes, so that a task of many batches ends after the
            present one.
        pool: how Celery runs tasks: one by one, or in threads.
        concurrency: the number of threads.
    """
    app = celery_app(redis_url)

    @app.task(name=queue, Request=_Notification)
    def run_task(*arguments: str) -> None:
        task(*arguments)

    def mark_ready(**_: object) -> None:
        ready.set()

    def stop(**_: object) -> None:
        ready.clear()
        stopping.set()

    signals.worker_ready.connect(mark_ready)
    signals.worker_shutting_down.connect(stop)
    # else Celery configures logging itself; it is configured already
    signals.setup_logging.connect(_keep_logging)
    app.Worker(
        pool=pool,
        concurrency=concurrency,
        queues=[queue],
        optimization="fair",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    ).start()


class _Notification(Request):
    """A received message, which is no longer in its queue.

    Celery acknowledges also what was consumed without acknowledgements. Kombu then sends Redis two
    commands for a message that Redis does not have, and keeps its name as long as the worker runs.
    """

    def acknowledge(self) -> None:
        """Record that nothing is left to acknowledge."""
        self.acknowledged = True


def _keep_logging(**_: object) -> None:
    """Leave logging as it is configured."""
