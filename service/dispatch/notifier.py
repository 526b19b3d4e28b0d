"""The doorbell: tells a queue's workers that work is due. It carries no work and may fail freely.

A ring that is lost is rung again by the relay; a ring too many finds nothing to lease.
"""

import socket
import threading
from typing import Any, Final

import structlog
from celery import Celery
from kombu import Exchange, Queue
from redis import Redis

from service.domain.queues import DELIVER, INFER
from service.telemetry.metrics import RINGS, RINGS_FAILED

_RINGING_ALREADY: Final = 16  # messages in a queue: more rings would tell its workers nothing new
_EXPIRES_SECONDS: Final = 60
_SOCKET_SECONDS: Final = 2
# a peer that vanished without a word is noticed in half a minute, not in hours: tcp(7)
_KEEPALIVE: Final = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 25_000,  # milliseconds
}

log = structlog.get_logger()


def celery_app(redis_url: str) -> Celery:
    """Give the Celery application that doorbell and workers share: JSON only, no results.

    Queues hang on the default exchange, whose bindings are not kept in Redis: a flushed Redis
    works again with the next ring.
    """
    app = Celery("lobar", broker=redis_url)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_queues=[Queue(name, Exchange(""), routing_key=name) for name in (INFER, DELIVER)],
        task_create_missing_queues=False,
        task_default_queue=INFER,
        task_default_exchange="",
        task_default_routing_key=INFER,
        task_publish_retry=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_connect_timeout": _SOCKET_SECONDS,
            "socket_keepalive": True,
            "socket_keepalive_options": _KEEPALIVE,
            "health_check_interval": 10,
        },
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


class Notifier:
    """Rings in a thread of its own, so that a silent Redis never holds up whoever rings."""

    def __init__(self, redis_url: str) -> None:
        self._app = celery_app(redis_url)
        self._redis: Redis = Redis.from_url(
            redis_url, socket_connect_timeout=_SOCKET_SECONDS, socket_timeout=_SOCKET_SECONDS
        )
        self._wanted: set[tuple[str, tuple[str, ...]]] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._silent = False
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self._thread.start()

    def notify(self, queue: str, *lane: str) -> None:
        """Ask for a ring, of one lane of a queue if it has lanes; returns at once."""
        with self._changed:
            self._wanted.add((queue, lane))
            self._changed.notify()

    def close(self) -> None:
        """Ring what was asked for and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=3 * _SOCKET_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                wanted, self._wanted = self._wanted, set()
                closed = self._closed
            for queue, lane in sorted(wanted):
                self._notify(queue, lane)
            if closed:
                return

    def _notify(self, queue: str, lane: tuple[str, ...]) -> None:
        try:
            waiting: Any = self._redis.llen(queue)
            if waiting < _RINGING_ALREADY:
                self._app.send_task(
                    queue, args=lane, queue=queue, expires=_EXPIRES_SECONDS, retry=False
                )
        except Exception as exc:
            RINGS_FAILED.labels(queue=queue).inc()
            if not self._silent:
                log.warning("ring_failed", queue=queue, exc_info=exc)
            self._silent = True
        else:
            RINGS.labels(queue=queue).inc()
            if self._silent:
                log.info("ringing_again", queue=queue)
            self._silent = False
