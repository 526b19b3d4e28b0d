"""A Celery worker for one queue: it hears the bell, and the ledger tells it what to do."""

import threading
from collections.abc import Callable
from typing import Literal

from celery import signals

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
    """Answer a queue's rings with `task` until told to stop by SIGTERM, then finish what runs.

    `ready` is set when the first ring can be heard; `stopping` as soon as the signal comes, so that
    a task that takes many batches ends after the present one.
    """
    app = celery_app(redis_url)

    @app.task(name=queue)
    def answer(*lane: str) -> None:
        task(*lane)

    def _hear(**_: object) -> None:
        ready.set()

    def _stop(**_: object) -> None:
        ready.clear()
        stopping.set()

    signals.worker_ready.connect(_hear)
    signals.worker_shutting_down.connect(_stop)
    # Celery would set up logging of its own; ours is configured already
    signals.setup_logging.connect(_stay_quiet)
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


def _stay_quiet(**_: object) -> None:
    """Leave logging as it is."""
