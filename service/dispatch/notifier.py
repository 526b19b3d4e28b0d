"""The notifier: wakes a queue's workers when work is due.

A notification carries no work. The relay repeats one that is lost, and a worker that receives one
too many finds nothing to lease.
"""

import socket
import threading
from typing import Any, Final

import structlog
from celery import Celery
from kombu import Exchange, Queue
from redis import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError

from service.domain.queues import DELIVER, INFER
from service.telemetry.metrics import NOTIFICATIONS, NOTIFICATIONS_FAILED

# messages in a queue; further ones carry no information: one wakes a worker, whichever is free, and
# those with arguments may name different destinations
_MOST_WAITING: Final = 1
_MOST_WAITING_WITH_ARGUMENTS: Final = 16
_SOCKET_SECONDS: Final = 2
_PAUSE_SECONDS: Final = 0.005  # between looks at a queue: one costs a tenth of a small instance
# detect a peer that vanished in half a minute instead of hours, tcp(7)
_KEEPALIVE: Final = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 25_000,  # milliseconds
}

log = structlog.get_logger()


def _queue(name: str) -> Queue:
    """Build a queue whose messages are gone once they are received.

    A message that a dying worker had received would come back after an hour, and what it says is in
    the ledger; keeping it for that long costs four commands to Redis a message.
    """
    return Queue(name, Exchange(""), routing_key=name, no_ack=True)


def celery_app(redis_url: str) -> Celery:
    """Build the Celery application of notifier and workers: JSON only, no results.

    The queues use the default exchange, whose bindings are not stored in Redis: after a flush,
    Redis works again with the next notification.
    """
    app = Celery("lobar", broker=redis_url)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_queues=[_queue(name) for name in (INFER, DELIVER)],
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
    """Sends notifications in its own thread, so that a slow Redis never delays the caller.

    Args:
        redis_url: where to send them.
        pause_seconds: what is requested so soon after the ones before is sent as one.
    """

    def __init__(self, redis_url: str, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
        self._pause_seconds = pause_seconds
        self._app = celery_app(redis_url)
        pool = ConnectionPool.from_url(
            redis_url, socket_connect_timeout=_SOCKET_SECONDS, socket_timeout=_SOCKET_SECONDS
        )
        # the connection itself: redis-py's client takes five times as long for a command
        self._connection = pool.make_connection()
        self._wanted: set[tuple[str, tuple[str, ...]]] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._ending = threading.Event()
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def notify(self, queue: str, *destination: str) -> None:
        """Request a notification of a queue, or of one destination's queue; returns at once."""
        with self._changed:
            self._wanted.add((queue, destination))
            self._changed.notify()

    def close(self) -> None:
        """Send the notifications that were requested, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._ending.set()
        self._thread.join(timeout=3 * _SOCKET_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                wanted, self._wanted = self._wanted, set()
                closed = self._closed
            for queue, arguments in sorted(wanted):
                self._send(queue, arguments)
            if closed:
                return
            self._ending.wait(self._pause_seconds)  # what is requested meanwhile is sent as one

    def _waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue; a connection that was lost is made anew.

        Raises:
            RedisError: Redis does not answer.
        """
        try:
            return self._list_length(queue)
        except RedisConnectionError:
            return self._list_length(queue)

    def _list_length(self, queue: str) -> int:
        self._connection.send_command("LLEN", queue)  # type: ignore[no-untyped-call]
        length: Any = self._connection.read_response()
        return int(length)

    def _send(self, queue: str, arguments: tuple[str, ...]) -> None:
        try:
            most = _MOST_WAITING_WITH_ARGUMENTS if arguments else _MOST_WAITING
            if self._waiting(queue) < most:
                # without an expiry, which would compare the clocks of two machines
                self._app.send_task(queue, args=arguments, queue=queue, retry=False)
        except Exception as exc:
            NOTIFICATIONS_FAILED.labels(queue=queue).inc()
            if not self._is_failing:
                log.warning("ring_failed", queue=queue, exc_info=exc)
            self._is_failing = True
        else:
            NOTIFICATIONS.labels(queue=queue).inc()
            if self._is_failing:
                log.info("ringing_again", queue=queue)
            self._is_failing = False
