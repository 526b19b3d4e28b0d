"""The outputs that the associations to one destination share, on a stand-in for a ledger."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from service.domain.delivery import Delivery, DeliveryState
from service.settings import DimseDestination, Settings
from service.storage.ledger import LedgerError, StaleLeaseError
from service.telemetry.progress import Progress
from workers.delivery.pool.outstanding import MOST_UNRECORDED, Outstanding

if TYPE_CHECKING:
    from workers.delivery.context import DeliveryContext

SECONDS = 1.5
PACS = DimseDestination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)


def outstanding(renew: Callable[[Delivery, float], None] = lambda *_: None) -> Outstanding:
    context = SimpleNamespace(
        settings=Settings.model_validate({"deliver": {"lease_seconds": SECONDS}}),
        ledger=SimpleNamespace(deliveries=SimpleNamespace(renew=renew)),
        progress=Progress(),
        stopping=threading.Event(),
    )
    return Outstanding(cast("DeliveryContext", context), PACS)


def leased(number: int, job_id: str) -> Delivery:
    return Delivery(
        id=number,
        job_id=job_id,
        kind="sr",
        sop_class_uid="1.2",
        sop_instance_uid=f"1.2.{number}",
        destination=PACS.name,
        state=DeliveryState.PENDING,
        reason=None,
        attempt=1,
        refusals=0,
        holder="test/",
        due_at=0,
        since=0,
        status=None,
        finished_at=None,
        sent=None,
        transaction_uid=None,
    )


def of_studies(*jobs: str) -> tuple[Outstanding, list[Delivery]]:
    """Return outputs of jobs, each in the study of its first letter, that wait to be sent."""
    deliveries = [leased(number, job_id) for number, job_id in enumerate(jobs)]
    here = outstanding()
    here.add(deliveries, {job_id: job_id[0] for job_id in jobs})
    return here, deliveries


def take(here: Outstanding) -> Delivery | None:
    return here.take(lambda: None)


@pytest.mark.parametrize(
    ("error", "tried"), [(LedgerError("down"), 1), (StaleLeaseError(), 3), (None, 3)]
)
def test_a_ledger_that_does_not_answer_is_asked_once_and_a_lost_lease_delays_no_other(
    error: Exception | None, tried: int
) -> None:
    asked: list[int] = []

    def renew(delivery: Delivery, seconds: float) -> None:
        assert seconds == SECONDS
        asked.append(delivery.id)
        if error is not None:
            raise error

    here = outstanding(renew)
    here.add([leased(each, f"{each}") for each in range(3)], {})
    answered = take(here)
    assert answered is not None
    here.answer(answered)
    assert take(here) is not None
    here.touch()
    assert asked == [], "it is renewed in good time"
    time.sleep(SECONDS / 3)
    here.touch()
    assert len(asked) == tried
    assert set(asked) <= {0, 1, 2}, "what waits, what is being sent and what is answered"


def test_outputs_of_one_study_are_sent_one_after_the_other_and_others_beside_them() -> None:
    here, (first, second, third, fourth) = of_studies("a1", "a2", "b1", "a1")
    assert take(here) == first
    assert take(here) == third, "the next of another study"
    here.answer(first)
    assert take(here) == second
    here.answer(second)
    assert take(here) == fourth


def test_what_was_taken_and_not_sent_comes_first_again() -> None:
    here, (first, second) = of_studies("a1", "a2")
    assert take(here) == first
    here.put_back(first)
    assert [take(here)] == [first]
    here.answer(first)
    assert take(here) == second


def test_when_nothing_more_is_added_the_rest_is_sent_and_then_nothing() -> None:
    here, (first, _) = of_studies("a1", "b1")
    here.close()
    assert take(here) == first
    assert take(here) is not None
    assert take(here) is None


def test_when_it_is_stopped_nothing_more_is_taken_and_the_rest_is_returned() -> None:
    here, (first, second, third) = of_studies("a1", "b1", "c1")
    assert take(here) == first
    assert here.remove_waiting() == [second, third]
    assert take(here) is None
    assert here.count == 1, "one is still being sent"


def test_no_more_is_sent_while_too_many_answers_are_not_recorded() -> None:
    here, deliveries = of_studies(*(chr(97 + each) for each in range(MOST_UNRECORDED + 1)))
    for _ in range(MOST_UNRECORDED):
        taken = take(here)
        assert taken is not None
        here.answer(taken)
    waits, found = threading.Event(), []
    sender = threading.Thread(target=lambda: found.append(here.take(waits.set)), daemon=True)
    sender.start()
    assert waits.wait(60), "it says that it is alive while it waits"
    assert found == []
    here.settle(deliveries[0])
    sender.join(60)
    assert found == [deliveries[-1]]


def test_one_that_waits_takes_what_is_added() -> None:
    here, found = outstanding(), []
    sender = threading.Thread(target=lambda: found.append(take(here)), daemon=True)
    sender.start()
    here.add([leased(1, "a")], {})
    sender.join(60)
    assert found == [leased(1, "a")]
