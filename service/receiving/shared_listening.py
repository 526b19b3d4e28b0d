"""What `lobar up` opens for its listeners, and each of them finds: the sockets, and some memory.

The sockets stay open while a listener is restarted, so that no other program takes their ports and
a sender that connects meanwhile waits. All listeners accept from them.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from service.receiving.listening import ListeningSocket, listening_addresses
from service.settings import LISTENING_VARIABLE, ConfigurationError, DicomSettings

_MEMORY_BYTES: Final = 1 << 16  # more than a thousand associations, the most that a setting allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What a listener shares with others of its machine."""

    number: int  # of this listener, from 1
    listeners: int
    memory: int  # a descriptor; see `service.receiving.listener.connections.limits`
    sockets: Sequence[int]  # descriptors, in the order of `listening_addresses`

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the value of LOBAR_LISTENING; programs of this process do not inherit in turn.

        Raises:
            ConfigurationError: it was not written by `lobar up` for this process.
        """
        try:
            number, listeners, memory, *sockets = map(int, text.split(","))
            for descriptor in (memory, *sockets):
                os.set_inheritable(descriptor, False)  # noqa: FBT003 -- positional only
        except (ValueError, OSError) as exc:
            raise ConfigurationError(
                f"{LISTENING_VARIABLE}={text!r} is not of `lobar up`: a listener runs without it."
            ) from exc
        return cls(number=number, listeners=listeners, memory=memory, sockets=sockets)

    def others(self) -> list[int]:
        """Return the numbers of the other listeners."""
        return [each for each in range(1, self.listeners + 1) if each != self.number]

    def variable(self) -> str:
        """Write the value of LOBAR_LISTENING: its number, that of all, memory and sockets."""
        return ",".join(map(str, (self.number, self.listeners, self.memory, *self.sockets)))

    def descriptors(self) -> tuple[int, ...]:
        """Return what the listener inherits."""
        return (self.memory, *self.sockets)


class SharedListening:
    """The listening sockets of a machine, and the memory in which its listeners count.

    Args:
        dicom: the addresses, and how many listeners there are.

    Raises:
        PortInUseError: another process listens on an address.
        ConfigurationError: an address cannot be listened on.
    """

    def __init__(self, dicom: DicomSettings) -> None:
        self._sockets: list[ListeningSocket] = []
        try:
            for address in listening_addresses(dicom):
                self._sockets.append(ListeningSocket(address))
            self._memory = os.memfd_create("lobar-associations", os.MFD_CLOEXEC)
        except BaseException:
            self.close()
            raise
        os.ftruncate(self._memory, _MEMORY_BYTES)
        self._listeners = dicom.listeners

    def shares(self) -> list[Sharing]:
        """Return what each listener gets."""
        return [
            Sharing(
                number=number,
                listeners=self._listeners,
                memory=self._memory,
                sockets=[each.socket.fileno() for each in self._sockets],
            )
            for number in range(1, self._listeners + 1)
        ]

    def close(self) -> None:
        """Close the sockets here: once each listener has closed them, nobody can connect."""
        for each in self._sockets:
            each.socket.close()
        self._sockets.clear()


def inherited_sockets(sharing: Sharing | None) -> dict[int, socket.socket]:
    """Return the listening sockets that this process inherited, by their ports.

    Raises:
        ConfigurationError: a descriptor is none.
    """
    found = {}
    for descriptor in sharing.sockets if sharing is not None else ():
        try:
            listening = socket.socket(fileno=descriptor)
            listening.settimeout(0)
            found[int(listening.getsockname()[1])] = listening
        except OSError as exc:
            raise ConfigurationError(
                f"{LISTENING_VARIABLE} names {descriptor}, which is no listening socket."
            ) from exc
    return found
