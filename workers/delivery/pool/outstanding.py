"""The leased outputs to one destination that are not settled yet, shared by its associations."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from service.domain.delivery import Delivery
from service.settings import Destination
from service.storage.ledger import LedgerError, StaleLeaseError
from workers.delivery.context import DeliveryContext

MOST_UNRECORDED: Final = 16  # answers; a process that ends repeats no more than these
_POLL_SECONDS: Final = 0.2


class Outstanding:
    """What was leased and is not settled: waiting, being sent, or answered and not yet recorded.

    One thread adds and settles; each association takes one output at a time. Outputs of one study
    are sent in the order of the lease and never at the same time: a report follows the one that it
    names, and a PACS need not create one study twice at once.
    """

    def __init__(self, context: DeliveryContext, destination: Destination) -> None:
        self._context = context
        self._destination = destination.name
        self._changed = threading.Condition()
        self._waiting: list[Delivery] = []
        self._sending: dict[int, Delivery] = {}
        self._answered: dict[int, Delivery] = {}
        self._studies: dict[str, str] = {}  # of jobs
        self._closed = self._stopped = False
        self._seconds = context.settings.deliver.lease_seconds
        self._renew_at = time.monotonic() + self._seconds / 3

    @property
    def count(self) -> int:
        """How many outputs are not settled."""
        with self._changed:
            return len(self._all())

    @property
    def waiting_count(self) -> int:
        """How many outputs are not being sent yet."""
        return len(self._waiting)

    def add(self, deliveries: Iterable[Delivery], studies: Mapping[str, str]) -> None:
        """Add leased outputs; a job that is not in `studies` is a study of its own."""
        leased = list(deliveries)
        studies = {each.job_id: studies.get(each.job_id, each.job_id) for each in leased}
        with self._changed:
            self._waiting += leased
            self._studies |= studies
            self._changed.notify_all()

    def take(self, touch: Callable[[], None]) -> Delivery | None:
        """Return the next output to send, waiting for one; None when no more is to be sent.

        `touch` is called now and then while it waits.
        """
        with self._changed:
            while not self._is_over():
                delivery = self._next()
                if delivery is not None:
                    self._waiting.remove(delivery)
                    self._sending[delivery.id] = delivery
                    return delivery
                touch()
                self._changed.wait(_POLL_SECONDS)
        return None

    def put_back(self, delivery: Delivery) -> None:
        """Let another association send an output that was taken and not sent."""
        with self._changed:
            del self._sending[delivery.id]
            self._waiting.insert(0, delivery)
            self._changed.notify_all()

    def answer(self, delivery: Delivery) -> None:
        """Mark an output as answered, so that the next of its study can be sent."""
        with self._changed:
            self._answered[delivery.id] = self._sending.pop(delivery.id)
            self._changed.notify_all()

    def settle(self, delivery: Delivery) -> None:
        """Forget an output whose answer is recorded."""
        with self._changed:
            del self._answered[delivery.id]
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is added."""
        return self._closed

    def close(self) -> None:
        """Let associations end when nothing waits: nothing more is added."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Let associations end at once: nothing more is sent."""
        with self._changed:
            self._stopped = self._closed = True
            self._changed.notify_all()

    def remove_waiting(self) -> list[Delivery]:
        """Remove and return what was not sent; nothing more is sent."""
        self.stop()
        with self._changed:
            removed, self._waiting = self._waiting, []
            return removed

    def touch(self) -> None:
        """Record progress, and renew the leases in good time; called by any thread."""
        self._context.progress.touch(self._destination)
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + self._seconds / 3
            with contextlib.suppress(LedgerError):  # each try would cost as long as this one
                self._renew()

    def _is_over(self) -> bool:
        if self._stopped or self._context.stopping.is_set():
            return True
        return self._closed and not self._waiting

    def _next(self) -> Delivery | None:
        """Return the first output whose study is not being sent."""
        if len(self._answered) >= MOST_UNRECORDED:
            return None
        busy = {self._studies[each.job_id] for each in self._sending.values()}
        return next((one for one in self._waiting if self._studies[one.job_id] not in busy), None)

    def _all(self) -> list[Delivery]:
        return [*self._sending.values(), *self._answered.values(), *self._waiting]

    def _renew(self) -> None:
        with self._changed:
            leased = self._all()
        for delivery in leased:
            with contextlib.suppress(StaleLeaseError):  # the write after the response finds it
                self._context.ledger.deliveries.renew(delivery, self._seconds)
