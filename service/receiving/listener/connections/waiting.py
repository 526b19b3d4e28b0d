"""The connections that wait: bounded in number and bytes, and fair between addresses."""

from collections.abc import Iterator
from typing import Final

from service.receiving.listener.connections.pending import PendingConnection

MOST_BYTES: Final = 32 << 20
"""Of unfinished requests together. A request is a few kilobytes, and arrives at once."""


class WaitingConnections:
    """Connections in the order of their arrival, and those of each address.

    When there is no room for one more, the oldest connection of the address with the most makes
    room. So an address that opens thousands closes its own, and never those of another.
    """

    def __init__(self, most: int, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._by_network: dict[str, dict[PendingConnection, None]] = {}
        self._ending: dict[PendingConnection, None] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self._ending)

    def __iter__(self) -> Iterator[PendingConnection]:
        for connections in self._by_network.values():
            yield from connections
        yield from self._ending

    def add(self, connection: PendingConnection) -> None:
        """Add a connection that has just been accepted."""
        self._by_network.setdefault(connection.network, {})[connection] = None
        self._count += 1

    def begin_to_end(self, connection: PendingConnection) -> None:
        """Count a connection as one that has got its last PDU."""
        self.remove(connection)
        self._ending[connection] = None

    def remove(self, connection: PendingConnection) -> None:
        """Remove a connection, whatever it waits for."""
        if connection in self._ending:
            del self._ending[connection]
            return
        of_network = self._by_network.get(connection.network, {})
        if connection in of_network:
            del of_network[connection]
            self._count -= 1
            if not of_network:
                del self._by_network[connection.network]

    def to_make_room(self) -> PendingConnection | None:
        """Return the connection to close, while there are too many; None when there is room."""
        return self.least_wanted() if len(self) > self._most else None

    def least_wanted(self) -> PendingConnection | None:
        """Return the connection to close first: one that has its reply, then as above."""
        if self._ending:
            return next(iter(self._ending))
        if not self._by_network:
            return None
        most = max(self._by_network, key=lambda network: len(self._by_network[network]))
        return next(iter(self._by_network[most]))

    def too_many_bytes(self) -> PendingConnection | None:
        """Return the connection to close while unfinished requests take too much memory."""
        buffered = {each: each.buffered_bytes for each in self}
        if sum(buffered.values()) <= self._most_bytes:
            return None
        return max(buffered, key=lambda each: buffered[each])

    def expired(self, now: float) -> list[PendingConnection]:
        """List the connections whose time is over."""
        return [each for each in self if each.until <= now]
