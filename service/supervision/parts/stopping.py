"""The signals that end a part."""

import signal
import threading


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stopping = threading.Event()

    def _stop(_number: int, _frame: object) -> None:
        # log nothing here: the interrupted statement may hold the lock of the log
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    return stopping
