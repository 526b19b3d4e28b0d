"""How long a peer may keep an association waiting: within a message, and for our responses."""

from dataclasses import dataclass
from typing import Final

from service.receiving.listener.refusals import Aborted, StalledError

GRACE_SECONDS: Final = 10.0
"""Of waiting within a message, before the rate of its sender counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """The limits of one association."""

    artim_seconds: float  # PS3.8 9.1.5
    silence_seconds: float
    message_seconds: float
    bytes_per_second: int  # 0: no least rate


class MessagePace:
    """How long we have waited for the message in progress, and how much of it came meanwhile.

    Our own work does not count: a slow disk here is not a slow sender.
    """

    def __init__(self, limits: TimeLimits) -> None:
        self._limits = limits
        self._waited = 0.0
        self._received = 0

    def begin(self) -> None:
        """Begin with a new message."""
        self._waited, self._received = 0.0, 0

    def add(self, waited: float, received: int) -> None:
        """Add a time of waiting and the bytes that it brought.

        Raises:
            StalledError: the message takes too long, or comes too slowly.
        """
        self._waited += waited
        self._received += received
        if self._waited > self._limits.message_seconds:
            raise StalledError(Aborted.MESSAGE_SECONDS)
        if self._waited > GRACE_SECONDS:
            least = (self._waited - GRACE_SECONDS) * self._limits.bytes_per_second
            if self._received < least:
                raise StalledError(Aborted.TOO_SLOW)
