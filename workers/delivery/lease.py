"""The lease of the outputs that are being sent, renewed while they move."""

import contextlib
import time
from collections.abc import Sequence

from service.domain.delivery import Delivery
from service.settings import Destination
from service.storage.ledger import LedgerError, StaleLeaseError
from workers.delivery.context import DeliveryContext


class BatchLease:
    """The deliveries of one lease; `touch` is called for each piece that is sent or received."""

    def __init__(
        self, context: DeliveryContext, destination: Destination, deliveries: Sequence[Delivery]
    ) -> None:
        self.waiting = list(deliveries)
        self._context = context
        self._destination = destination.name
        self._seconds = context.settings.deliver.lease_seconds
        self._renew_at = time.monotonic() + self._seconds / 3

    def touch(self) -> None:
        """Record progress, and renew the lease in good time; called by any thread."""
        self._context.progress.touch(self._destination)
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + self._seconds / 3
            with contextlib.suppress(LedgerError):  # each try would cost as long as this one
                self._renew()

    def _renew(self) -> None:
        for delivery in tuple(self.waiting):
            with contextlib.suppress(StaleLeaseError):  # the write after the response finds it
                self._context.ledger.deliveries.renew(delivery, self._seconds)
