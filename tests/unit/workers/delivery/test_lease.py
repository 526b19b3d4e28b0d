"""The lease of outputs that are being sent, on a stand-in for a ledger out of reach."""

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from service.settings import DimseDestination, Settings
from service.storage.ledger import LedgerError, StaleLeaseError
from service.telemetry.progress import Progress
from workers.delivery.lease import BatchLease

if TYPE_CHECKING:
    from service.domain.delivery import Delivery
    from workers.delivery.context import DeliveryContext

SECONDS = 1.5


@pytest.mark.parametrize(
    ("error", "tried"), [(LedgerError("down"), [1]), (StaleLeaseError(), [1, 2])]
)
def test_a_ledger_that_does_not_answer_is_asked_once_and_a_lost_lease_delays_no_other(
    error: Exception, tried: list[int]
) -> None:
    asked: list[int] = []

    def renew(delivery: int, seconds: float) -> None:
        assert seconds == SECONDS
        asked.append(delivery)
        raise error

    context = SimpleNamespace(
        settings=Settings.model_validate({"deliver": {"lease_seconds": SECONDS}}),
        ledger=SimpleNamespace(deliveries=SimpleNamespace(renew=renew)),
        progress=Progress(),
    )
    pacs = DimseDestination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
    deliveries = cast("list[Delivery]", [1, 2])
    lease = BatchLease(cast("DeliveryContext", context), pacs, deliveries)
    lease.touch()
    assert asked == [], "it is renewed in good time"
    time.sleep(SECONDS / 3)
    lease.touch()
    assert asked == tried
