"""The template: a process forked before any thread starts, from which decoders are forked.

A decoder is ready within milliseconds and shares the pages of all that was imported. The template
collects how decoders ended only when asked, so the number of a decoder is never reused before.
"""

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import threading
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from service.decoding.answer import LONGEST_MESSAGE, Answer, send
from service.decoding.failures import DecodersLostError
from service.domain.reasons import Reason
from service.process_limits import die_before_others, forbid_core_files, without_collection

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_FIRST_TO_KILL: Final = 1000  # proc(5), oom_score_adj
_SPARE_SECONDS: Final = 1  # of processor time: ticks count a little more than was used


class Handler(Protocol):
    """What decoders do; its code and state are forked with the template."""

    def prepare(self) -> None:
        """Do in the template what every decoder needs; an error is raised again by a request."""

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """Answer a request."""


class Template:
    """The process from which decoders are forked. Start it before this process has threads."""

    def __init__(self, handler: Handler) -> None:
        self._control, theirs = _pair()
        self._lock = threading.Lock()
        parent = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads of numpy's own
            pid = os.fork()
        if pid == 0:
            _serve_forks(theirs, handler, parent)
        theirs.close()
        self.pid = pid

    def fork(self) -> tuple[int, socket.socket]:
        """Fork a decoder and return its process id and the socket to it.

        Raises:
            DecodersLostError: the template is gone.
        """
        ours, theirs = _pair()
        with theirs, self._lock:
            try:
                socket.send_fds(self._control, [b"fork"], [theirs.fileno()])
                answered = self._control.recv(64)
            except OSError:
                answered = b""
        if not answered or answered == b"-":
            ours.close()
            raise DecodersLostError
        return int(answered), ours

    def collect(self, pid: int) -> int:
        """Return the exit status of a decoder that ended, negative for a signal."""
        with self._lock:
            try:
                self._control.send(str(pid).encode())
                answered = self._control.recv(64)
            except OSError:
                answered = b""
        if not answered:
            raise DecodersLostError
        return int(answered)

    def close(self) -> None:
        """End the template, and with it every decoder."""
        self._control.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _serve_forks(control: socket.socket, handler: Handler, parent: int) -> NoReturn:
    """Fork and collect decoders until the parent closes the control socket or dies."""
    try:
        _detach(control, parent)
        # a collection would copy the pages of all that was imported, here and in each decoder
        with without_collection(), contextlib.suppress(Exception):
            handler.prepare()
        own = os.getpid()
        while True:
            message, sockets, _flags, _address = socket.recv_fds(control, 64, 1)
            if not message:
                os._exit(0)
            if message != b"fork":
                _pid, status = os.waitpid(int(message), 0)
                control.send(str(os.waitstatus_to_exitcode(status)).encode())
                continue
            try:
                pid = os.fork()
            except OSError:
                os.close(sockets[0])
                control.send(b"-")
                continue
            if pid == 0:
                control.close()
                _serve_requests(socket.socket(fileno=sockets[0]), handler, own)
            os.close(sockets[0])
            control.send(str(pid).encode())
    finally:
        os._exit(1)


def _detach(control: socket.socket, parent: int) -> None:
    """Keep nothing of the parent's: no descriptor, no signal that is meant for it, no output."""
    _die_with(parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the parent drains, and ends decoders itself
    keep = control.fileno()
    os.closerange(3, keep)
    os.closerange(keep + 1, 1 << 16)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # decoders print what they like; none of it belongs in a log
        os.dup2(nothing, standard)
    os.close(nothing)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _serve_requests(peer: socket.socket, handler: Handler, template: int) -> NoReturn:
    """Answer requests within their limits until the peer closes the socket."""
    try:
        _die_with(template)
        forbid_core_files()
        die_before_others(_FIRST_TO_KILL)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends a process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
        size_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        while message := peer.recv(LONGEST_MESSAGE):
            request = json.loads(message)
            _limit(size_bytes + request["memory_bytes"], request["seconds"])
            send(peer, _answer(handler, request["request"]))
            gc.collect()  # the traceback of a refusal is a cycle that holds the image
        os._exit(0)
    finally:
        os._exit(1)


def _limit(address_space_bytes: int, seconds: float) -> None:
    """Limit the memory and the processor time of one request.

    The time is a timer's, which begins anew. RLIMIT_CPU is held against all that a process ever
    used, counted in ticks of the kernel; what the kernel tells a process is measured, and after
    some ten thousand requests the two are further apart than the limit of one.
    """
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, seconds + _SPARE_SECONDS)


def _answer(handler: Handler, request: Mapping[str, Any]) -> Answer:
    try:
        return handler(request)
    except MemoryError:
        return Answer(values={"failed": str(Reason.DECODER_OUT_OF_MEMORY)})
    except OSError as error:
        if error.errno is None:  # a decoder's own words for damaged bytes
            return _unexpected(error)
        return Answer(values={"errno": error.errno})
    except Exception as error:  # noqa: BLE001 -- the code of a bundle may raise anything
        return _unexpected(error)


def _unexpected(error: Exception) -> Answer:
    """Describe an error by its type and place: its message may quote patient data."""
    frames = "".join(traceback.format_tb(error.__traceback__))[-8000:]
    return Answer(values={"error": type(error).__name__, "frames": frames})
