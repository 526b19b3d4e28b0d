"""The open connections of one server: which are slow, and which makes room for a new one.

A limit that refuses newcomers is a way to shut everybody out: one client may hold all places, for
as long as the time limits allow. Here a newcomer always gets in while any connection only
waits for its client, and the one that has waited for longest makes room; of the address that has
most of them, so that one client cannot push out the others. Behind a proxy all have the proxy's
address, and it is simply the oldest. A client that sends its request as it connects is through
long before that.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Final, Protocol

from service.telemetry.metrics import WEB_CONNECTIONS_ENDED
from service.telemetry.progress import AwakeClock
from service.web.serving.limits import Ended, Limits


class Phase(Enum):
    """What a connection waits for."""

    HEAD = auto()  # the client: the head of a request, or the next request
    BODY = auto()  # the client: the rest of a body
    RESPONSE = auto()  # the application


class Connection(Protocol):
    """One connection, as its protocol shows it."""

    address: str  # of the peer; empty on a Unix socket

    def phase(self) -> Phase:
        """Return what it waits for."""

    def is_held_back(self) -> bool:
        """Return whether the client is not read from, because the application is slower."""

    def unsent_bytes(self) -> int:
        """Return how much of the response waits for the client to read."""

    def end(self, reason: Ended) -> None:
        """End it; with a response where one can still be sent."""


class _Watched:
    """What is known of a connection."""

    def __init__(self, connection: Connection, now: float) -> None:
        self.connection = connection
        self.phase = connection.phase()
        self.since = now  # of the phase
        self.held_seconds = 0.0  # of them, in which the client could not send
        self.received = 0  # bytes in this phase
        self.unread: tuple[float, int] | None = None  # since when, and how much then

    def note(self, now: float) -> None:
        """Begin the phase anew where it is another one."""
        phase = self.connection.phase()
        if phase is not self.phase:
            self.phase, self.since = phase, now
            self.held_seconds, self.received = 0.0, 0

    def rate(self, now: float) -> float:
        """Return the bytes per second of this phase."""
        return self.received / max(1.0, now - self.since - self.held_seconds)


class Connections:
    """The open connections of one server; used in its event loop alone.

    Args:
        limits: what they may take.
        clock: seconds; an interval between two readings counts for five seconds at most.
        count: counts an ended connection, by its reason.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] | None = None,
        count: Callable[[Ended], None] | None = None,
    ) -> None:
        self._limits: Final = limits
        self._clock = AwakeClock(clock) if clock else AwakeClock()
        self._count = count or _count
        self._watched: dict[Connection, _Watched] = {}
        self._swept_at = self._clock.now

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._watched)

    def admit(self, connection: Connection) -> None:
        """Take a new connection; another makes room for it where there are too many."""
        now = self._clock.read()
        if len(self._watched) >= self._limits.connections:
            victim = self._oldest_waiting() or self._slowest(now)
            if victim is None:
                self._end(connection, Ended.REFUSED)
                return
            self._end(victim, Ended.MADE_ROOM)
        self._watched[connection] = _Watched(connection, now)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is closed."""
        self._watched.pop(connection, None)

    def received(self, connection: Connection, size_bytes: int) -> None:
        """Count what a client sent, and note what its connection waits for now."""
        watched = self._watched.get(connection)
        if watched is None:
            return
        now, before = self._clock.read(), watched.phase
        watched.note(now)
        watched.received += size_bytes
        if watched.phase is Phase.BODY and before is not Phase.BODY:
            self._bound_bodies(now)

    def answered(self, connection: Connection) -> None:
        """Note that the response of a request is complete."""
        watched = self._watched.get(connection)
        if watched is not None:
            watched.note(self._clock.read())

    def must_wait(self, connection: Connection, unsent_bytes: int) -> None:
        """Note that a response waits for its client to read; of too many, the oldest is ended."""
        watched = self._watched.get(connection)
        if watched is None:
            return
        watched.unread = watched.unread or (self._clock.read(), unsent_bytes)
        unread = [(each.unread[0], each) for each in self._watched.values() if each.unread]
        if len(unread) > self._limits.slow:
            _, oldest = min(unread, key=lambda each: each[0])
            self._end(oldest.connection, Ended.MADE_ROOM)

    def has_read(self, connection: Connection) -> None:
        """Note that a client has read nearly all that waited for it."""
        watched = self._watched.get(connection)
        if watched is not None:
            watched.unread = None

    def sweep(self) -> None:
        """End the connections whose clients are too slow; called every second."""
        before, now = self._swept_at, self._clock.read()
        self._swept_at = now
        for watched in list(self._watched.values()):
            watched.note(now)
            if watched.connection.is_held_back():
                watched.held_seconds += min(now - before, now - watched.since)
            reason = self._fault(watched, now)
            if reason is not None:
                self._end(watched.connection, reason)

    def _fault(self, watched: _Watched, now: float) -> Ended | None:
        if self._is_unread(watched, now):
            return Ended.UNREAD
        waited = now - watched.since - watched.held_seconds
        if watched.phase is Phase.HEAD and waited > self._limits.head_seconds:
            return Ended.SLOW_HEAD
        if watched.phase is Phase.BODY and self._is_slow_body(watched, waited):
            return Ended.SLOW_BODY
        return None

    def _is_slow_body(self, watched: _Watched, waited: float) -> bool:
        if waited > self._limits.body_seconds:
            return True
        least = self._limits.least_bytes_per_second * waited
        return waited > self._limits.grace_seconds and watched.received < least

    def _is_unread(self, watched: _Watched, now: float) -> bool:
        """Return whether a client read less than it must in the last `unread_seconds`."""
        unsent = watched.connection.unsent_bytes()
        if unsent == 0:
            watched.unread = None
            return False
        if watched.unread is None:
            watched.unread = (now, unsent)
            return False
        since, before = watched.unread
        if now - since < self._limits.unread_seconds:
            return False
        watched.unread = (now, unsent)
        return before - unsent < self._limits.least_bytes_per_second * (now - since)

    def _oldest_waiting(self) -> Connection | None:
        """Return the one that has waited for longest of the address that has most of them."""
        waiting = [each for each in self._watched.values() if each.phase is Phase.HEAD]
        if not waiting:
            return None
        of_address = Counter(each.connection.address for each in waiting)
        most = max(of_address.values())
        return min(
            (each for each in waiting if of_address[each.connection.address] == most),
            key=lambda each: each.since,
        ).connection

    def _slowest(self, now: float) -> Connection | None:
        """Return the connection whose body arrives most slowly."""
        slowest = min(self._bodies(), key=lambda each: each.rate(now), default=None)
        return None if slowest is None else slowest.connection

    def _bound_bodies(self, now: float) -> None:
        """End the slowest body where too many arrive at once: each holds the place of a request."""
        if sum(1 for _ in self._bodies()) > self._limits.slow:
            slowest = self._slowest(now)
            if slowest is not None:
                self._end(slowest, Ended.MADE_ROOM)

    def _bodies(self) -> Iterable[_Watched]:
        return (each for each in self._watched.values() if each.phase is Phase.BODY)

    def _end(self, connection: Connection, reason: Ended) -> None:
        self._watched.pop(connection, None)
        self._count(reason)
        connection.end(reason)


def _count(reason: Ended) -> None:
    WEB_CONNECTIONS_ENDED.labels(reason=reason).inc()
