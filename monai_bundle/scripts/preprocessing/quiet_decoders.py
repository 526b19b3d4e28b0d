"""Suppress the warnings of decoders, in a way that is safe in threads.

`warnings.catch_warnings` alone is not: two threads that leave it in the wrong order change the
filters of the process for good. Here the first thread to enter suppresses warnings, and the last
one to leave restores the filters.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_lock = threading.Lock()
_inside = 0
_restore = ExitStack()


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Ignore Python warnings while at least one thread is inside."""
    global _inside  # noqa: PLW0603 -- warning filters are global, and so is this count
    with _lock:
        _inside += 1
        if _inside == 1:
            _restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _restore.close()
