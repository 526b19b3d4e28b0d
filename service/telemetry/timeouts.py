"""Calls with a timeout, for pages that must respond although a peer does not."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

Result = TypeVar("Result")

# calls to a peer that does not respond must not accumulate threads
_RUNNING: Final = threading.BoundedSemaphore(16)


def call_with_timeout(seconds: float, function: Callable[[], Result]) -> Result:
    """Call a function in a thread, and return its result or raise its exception.

    Raises:
        TimeoutError: There was no result in time, or too many calls are still running. The
            function may continue to run.
    """
    if not _RUNNING.acquire(blocking=False):
        raise TimeoutError("too many calls are still running")
    future: Future[Result] = Future()
    # a daemon, unlike an executor's threads: it must not delay the exit of the process
    threading.Thread(target=_call, args=(function, future), daemon=True).start()
    return future.result(timeout=seconds)


def _call(function: Callable[[], Result], future: Future[Result]) -> None:
    try:
        future.set_result(function())
    except Exception as exc:  # noqa: BLE001 -- raised again in the waiting thread
        future.set_exception(exc)
    finally:
        _RUNNING.release()
