"""Look for a faster engine beside a worker that works with torch, and hand it over."""

import os
import subprocess
import sys
import threading
from typing import Final

import structlog

from service.settings import Settings
from workers.inference.engines.choice import may_leave_torch, recorded, usable
from workers.inference.predictor import Predictor

_LEAST_SECONDS: Final = 0.01  # for a radiograph; what takes less is not worth an export
_MOST_SECONDS: Final = 600  # for an export
_COMMAND: Final = (sys.executable, "-P", "-m", "service.cli", "bundle", "engine", "--aside-of")

log = structlog.get_logger()


class EngineSearch:
    """Has the network exported by another process, once torch turned out to be slow.

    A start is therefore as fast as with torch alone. The search begins with the second batch: the
    first one prepares the network.
    """

    def __init__(self, settings: Settings, predictor: Predictor) -> None:
        self._settings, self._predictor = settings, predictor
        self._batches = 0

    def watch(self) -> None:
        """Begin to watch the predictor, if another engine may be used and none is known yet."""
        if may_leave_torch(self._settings) and recorded(self._settings) is None:
            self._predictor.note_seconds = self._note

    def _note(self, seconds: float) -> None:
        self._batches += 1
        if self._batches > 1 and seconds >= _LEAST_SECONDS:
            self._predictor.note_seconds = lambda _: None
            threading.Thread(target=self._search, name="engine", daemon=True).start()

    def _search(self) -> None:
        try:
            done = subprocess.run(
                (*_COMMAND, str(os.getpid())),  # it ends with this worker, even while it starts
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_MOST_SECONDS,
                check=False,
            )
            log.info("engine_searched", returncode=done.returncode)
            self.hand_over()
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            log.exception("engine_not_found")

    def hand_over(self) -> None:
        """Load the engine that is recorded, if one is to be used, and let the predictor use it.

        Raises:
            RuntimeError: OpenVINO cannot use it.
            OSError: it cannot be read.
        """
        artefact = usable(self._settings)
        if artefact is not None:
            from workers.inference.engines.openvino_engine import load_engine  # noqa: PLC0415 -- OpenVINO costs 50 MB

            self._predictor.engine = load_engine(artefact)
            log.info("engine_loaded", engine=artefact.record.engine)
