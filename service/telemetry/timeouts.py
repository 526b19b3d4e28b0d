"""A question with a deadline, for pages that must answer although the answerer does not."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

Result = TypeVar("Result")

_ASKING: Final = threading.BoundedSemaphore(16)  # a silent answerer must not pile up threads


def call_with_timeout(seconds: float, question: Callable[[], Result]) -> Result:
    """Ask, and give the answer or raise what the question raises.

    Raises:
        TimeoutError: no answer came in time; the question may go on until it has one.
    """
    if not _ASKING.acquire(blocking=False):
        raise TimeoutError("too many questions wait for an answer")
    future: Future[Result] = Future()
    # a daemon, unlike an executor's threads: it must not hold up the end of the process
    threading.Thread(target=_ask, args=(question, future), daemon=True).start()
    return future.result(timeout=seconds)


def _ask(question: Callable[[], Result], future: Future[Result]) -> None:
    try:
        future.set_result(question())
    except Exception as exc:  # noqa: BLE001 -- raised again by whoever waits
        future.set_exception(exc)
    finally:
        _ASKING.release()
