"""Keep pydicom from checking values, and from quoting them in warnings; safe in threads.

Validation mode and warning filters belong to the process, and outputs are built in several threads.
Changed by each thread alone, one would restore what another still needs changed, or leave the
change behind for good.
"""

import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Final

from pydicom.config import disable_value_validation  # noqa: TID251 -- made safe here


class _Shared:
    """A change of the process: the first thread to enter makes it, the last to leave undoes it."""

    def __init__(self, change: Callable[[], AbstractContextManager[object]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._inside = 0
        self._undo = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._undo.enter_context(self._change())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._undo.close()


NO_VALIDATION: Final = _Shared(disable_value_validation)
NO_WARNINGS: Final = _Shared(partial(warnings.catch_warnings, action="ignore"))
