"""Silence for decoders that warn about what headers and codestreams say; safe in threads.

`warnings.catch_warnings` alone is not: two threads that leave in the wrong order leave the
process's filters changed for good. Here the first one in silences, the last one out restores.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_lock = threading.Lock()
_inside = 0
_restore = ExitStack()


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore Python warnings while anyone is inside."""
    global _inside  # noqa: PLW0603 -- warning filters are global, so is who silenced them
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
