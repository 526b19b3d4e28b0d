"""The socket on which the supervisor takes the notifications of its parts (sd_notify(3))."""

import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from service.telemetry.watchdog import STUCK_SECONDS

_LONGEST_BYTES: Final = 4096
_MOST_AT_ONCE: Final = 1000  # so that a flood of messages cannot hold up the supervisor
_CREDENTIALS: Final = struct.Struct("iII")  # process, user and group, by the kernel (unix(7))
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Notification:
    """What a part reports of its work."""

    is_progress: bool
    stuck_seconds: float | None  # None: it does not report to be stuck

    @classmethod
    def parse(cls, message: bytes) -> Self:
        """Read the assignments of a message, one a line; others than ours are ignored."""
        lines = message.decode("utf-8", "replace").splitlines()
        assignments = dict(line.split("=", 1) for line in lines if "=" in line)
        watchdog, seconds = assignments.get("WATCHDOG"), assignments.get(STUCK_SECONDS, "")
        return cls(
            is_progress=watchdog == "1",
            stuck_seconds=(float(seconds) if _SECONDS.fullmatch(seconds) else 0.0)
            if watchdog == "trigger"
            else None,
        )


class Notifications:
    """A datagram socket with an abstract address, which needs no file and leaves none behind.

    Any account of this machine can send to it; the kernel says which process did.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(b"")  # the kernel chooses a free address
        self._socket.settimeout(0)

    @property
    def address(self) -> str:
        """The value of NOTIFY_SOCKET, in which @ stands for the zero byte of the address."""
        name: bytes = self._socket.getsockname()
        return name.replace(b"\0", b"@", 1).decode("ascii")

    def receive(self) -> Iterator[tuple[int, Notification]]:
        """Yield the messages that have arrived, each with the number of its sender's process."""
        for _ in range(_MOST_AT_ONCE):
            try:
                message, ancillary, _flags, _sender = self._socket.recvmsg(
                    _LONGEST_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
            except BlockingIOError:
                return
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid, _uid, _gid = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
                    yield pid, Notification.parse(message)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
