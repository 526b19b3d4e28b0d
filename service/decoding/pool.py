"""A bounded number of decoders, each answering one request at a time within its limits."""

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from service.decoding.answer import Answer, receive
from service.decoding.failures import DecodersBusyError, DecodingError
from service.decoding.template import Template
from service.domain.reasons import Reason
from service.settings import DecodingSettings
from service.telemetry.metrics import DECODER_FAILURES

_LONGEST_STRETCH: Final = 5  # times a limit, for a decoder that waits for a processor
_LEAST_STRETCH: Final = 0.01  # seconds
_STATUSES: Final = {-signal.SIGPROF: Reason.DECODER_TIMEOUT}  # of its processor time

log = structlog.get_logger()


class HandlerError(Exception):
    """A handler raised an error that it does not code; the message has no patient data."""


@dataclass(frozen=True, slots=True)
class _Decoder:
    pid: int
    peer: socket.socket


class DecoderPool:
    """Answers requests in decoders, `processes` at once and one more for those that take long.

    A request that is not answered within `quick_seconds` continues as the one that takes long, if
    there is none yet; else its decoder is ended, and it starts again when its turn comes. Slow
    requests therefore never hold up quick ones for longer. On a machine that is busy with other
    things a limit is longer by the time for which the decoder waited for a processor, up to five
    times as long: an instance is not to blame for it.
    """

    def __init__(self, template: Template, settings: DecodingSettings, processes: int) -> None:
        self._template = template
        self._settings = settings
        self._quick = threading.Semaphore(processes)
        self._slow = threading.Semaphore(1)
        self._idle: list[_Decoder] = []
        self._lock = threading.Lock()

    def ask(
        self,
        request: Mapping[str, Any],
        *,
        patience: float | None = None,
        slow_patience: float | None = None,
    ) -> Answer:
        """Have a decoder answer a request.

        Args:
            request: for the handler.
            patience: how many seconds to wait for a free decoder; None waits for as long as needed.
            slow_patience: likewise, once the request has turned out to take long.

        Raises:
            DecodingError: the decoder crashed, took too long or needed too much memory.
            DecodersBusyError: no decoder was free in time.
            DecodersLostError: no decoder can be started.
            OSError: the handler could not read or write a file.
            HandlerError: the handler raised another error.
        """
        with _acquired(self._quick, patience):
            decoder = self._begin(request)
            if _is_answered(decoder, self._settings.quick_seconds):
                return self._finish(decoder)
            continues = self._slow.acquire(blocking=False)
            if not continues:
                self._end(decoder)
        if not continues:
            if not self._slow.acquire(timeout=slow_patience):
                raise DecodersBusyError
            decoder = self._begin(request)
        try:
            if _is_answered(decoder, self._settings.seconds):
                return self._finish(decoder)
            self._end(decoder)
        finally:
            self._slow.release()
        raise _counted(Reason.DECODER_TIMEOUT)

    def close(self) -> None:
        """End the idle decoders; those of requests that run end with the template."""
        with self._lock:
            while self._idle:
                self._idle.pop().peer.close()

    def _begin(self, request: Mapping[str, Any]) -> _Decoder:
        """Send a request to an idle decoder, or to a new one."""
        with self._lock:
            decoder = self._idle.pop() if self._idle else None
        limits = {
            "memory_bytes": self._settings.memory_bytes,
            "seconds": self._settings.quick_seconds + self._settings.seconds,
        }
        message = json.dumps({**limits, "request": request}).encode()
        if decoder is not None:
            try:
                decoder.peer.send(message)
            except OSError:  # it was ended while it was idle
                self._end(decoder)
            else:
                return decoder
        decoder = _Decoder(*self._template.fork())
        with contextlib.suppress(OSError):  # it ended: that is read as no answer
            decoder.peer.send(message)
        return decoder

    def _finish(self, decoder: _Decoder) -> Answer:
        answer = receive(decoder.peer)
        if answer is None:
            status = self._end(decoder)
            log.warning("decoder_ended", status=status)
            raise _counted(_STATUSES.get(status, Reason.DECODER_CRASHED))
        if failed := answer.values.get("failed"):
            self._end(decoder)  # what it allocated may be left in its heap
            raise _counted(Reason(failed))
        with self._lock:
            self._idle.append(decoder)
        if number := answer.values.get("errno"):
            raise OSError(number, os.strerror(number))
        if name := answer.values.get("error"):
            raise HandlerError(f"{name}\n{answer.values['frames']}")
        return answer

    def _end(self, decoder: _Decoder) -> int:
        """End a decoder and return its exit status."""
        decoder.peer.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(decoder.pid, signal.SIGKILL)
        return self._template.collect(decoder.pid)


@contextmanager
def _acquired(permits: threading.Semaphore, patience: float | None) -> Iterator[None]:
    if not permits.acquire(timeout=patience):
        raise DecodersBusyError
    try:
        yield
    finally:
        permits.release()


def _is_answered(decoder: _Decoder, seconds: float) -> bool:
    """Wait for an answer so long; the time for which others had the processors does not count."""
    began, waited = time.monotonic(), _waited_for_processor(decoder.pid)
    until, last = began + seconds, began + seconds * _LONGEST_STRETCH
    while not select.select([decoder.peer], [], [], max(0, until - time.monotonic()))[0]:
        kept_waiting = max(0, _waited_for_processor(decoder.pid) - waited)
        later = min(began + seconds + kept_waiting, last)
        if later - until < _LEAST_STRETCH:
            return False
        until = later
    return True


def _waited_for_processor(pid: int) -> float:
    """Return for how many seconds a process was able to run and did not; 0 if that is not known."""
    try:
        _, nanoseconds, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):  # it ended, or this kernel does not tell
        return 0
    return int(nanoseconds) / 1e9


def _counted(reason: Reason) -> DecodingError:
    DECODER_FAILURES.labels(reason=reason).inc()
    return DecodingError(reason)
