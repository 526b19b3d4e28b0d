"""Crash points: named moments at which a process ends itself, so that tests can kill it there.

They are off unless LOBAR_CRASH_AT names one of them when the process starts: its name, or its name
and how many times the process passes it, as `deliver.answered:3`. It then ends by SIGKILL, and
nothing of it is cleaned up. No configuration file can name one.
"""

import os
import signal
import threading
from enum import StrEnum
from typing import Final

from service.errors import EX_CONFIG, ExplainedError


class CrashPoint(StrEnum):
    """The moments, each after what its name says, in the order of an instance's path."""

    RECEIVE_SYNCED = "receive.synced"
    RECEIVE_RENAMED = "receive.renamed"
    RECEIVE_SPOOLED = "receive.spooled"
    RECEIVE_RECORDED = "receive.recorded"
    RECEIVE_RESTORED = "receive.restored"
    INFER_LEASED = "infer.leased"
    INFER_PREDICTED = "infer.predicted"
    REPORT_SYNCED = "report.synced"
    REPORT_RENAMED = "report.renamed"
    REPORT_STORED = "report.stored"
    REPORT_RECORDED = "report.recorded"
    DELIVER_LEASED = "deliver.leased"
    DELIVER_ANSWERED = "deliver.answered"
    DELIVER_RECORDED = "deliver.recorded"
    COMMITMENT_LEASED = "commitment.leased"
    COMMITMENT_ACCEPTED = "commitment.accepted"
    COMMITMENT_RECEIVED = "commitment.received"
    COMMITMENT_RECORDED = "commitment.recorded"
    REQUEST_RECORDED = "request.recorded"
    REQUEST_EVALUATED = "request.evaluated"
    REQUEST_REPORTED = "request.reported"
    REQUEST_CLOSED = "request.closed"
    RETENTION_MARKED = "retention.marked"
    RETENTION_DISCARDED = "retention.discarded"
    RETENTION_FORGOTTEN = "retention.forgotten"


class CrashPointError(ExplainedError):
    """LOBAR_CRASH_AT names no crash point."""

    exit_status = EX_CONFIG


_left: Final[dict[CrashPoint, int]] = {}  # passings until the end; empty unless one is armed
_counting: Final = threading.Lock()


def arm(text: str | None) -> CrashPoint | None:
    """Let this process end at the crash point that a text names; return it, None without a text.

    Raises:
        CrashPointError: the text names none.
    """
    if not text:
        return None
    name, _, count = text.partition(":")
    try:
        point, passings = CrashPoint(name), int(count or 1)
    except ValueError:
        passings = 0
    if passings < 1:
        raise CrashPointError(
            f"LOBAR_CRASH_AT={text!r} names no crash point. They are for tests; the service runs "
            "without the variable."
        )
    _left.clear()
    _left[point] = passings
    return point


def passed(point: CrashPoint) -> None:
    """End this process if it is to end here; else return at once."""
    if not _left or point not in _left:
        return
    with _counting:
        _left[point] -= 1
        if _left[point] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
