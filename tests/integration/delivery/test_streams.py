"""Associations that stay open for a moment while outputs come one soon after the other."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import Mock

import pytest
from peers.scripted_pacs import ScriptedPacs
from support.delivery_worker import NAME, DeliverySetup
from support.lobar_process import wait_for

from service.domain.job import JobState
from workers.delivery.worker import Stream
from workers.tasks.deliver import DestinationQueues

OPEN = 30.0  # seconds; nothing waits for their end


Make = Callable[..., DeliverySetup]


def delivered(here: DeliverySetup, job_id: str) -> None:
    """Wait until a job is delivered."""
    wait_for(lambda: here.workspace.stands(job_id)[0] is JobState.DELIVERED)


@contextmanager
def kept_open(here: DeliverySetup, queues: DestinationQueues) -> Iterator[None]:
    """Deliver two jobs, one after the other; the second's association is open in the block.

    At the end the worker is told to stop, which it does at once.
    """
    here.report()
    queues.serve(NAME)  # whose association ends
    second = here.report()
    serving = threading.Thread(target=queues.serve, args=[NAME])
    serving.start()
    try:
        delivered(here, second)
        yield
    finally:
        here.stopping.set()
        serving.join(OPEN / 2)
        assert not serving.is_alive()


def test_outputs_that_come_soon_go_over_the_same_association(
    setup: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = ScriptedPacs()
    here = setup(peer, keep_open_seconds=OPEN)
    queues = DestinationQueues(here.context)
    lease = Mock(wraps=here.ledger.deliveries.lease)
    monkeypatch.setattr(here.ledger.deliveries, "lease", lease)
    with peer.running(), kept_open(here, queues):
        assert (peer.associations, peer.open_now) == (2, 1)
        lease.reset_mock()
        for _ in range(3):
            job_id = here.report()
            queues.serve(NAME)  # by another thread: it wakes the one that serves, and returns
            delivered(here, job_id)
        assert (peer.associations, len(peer.received)) == (2, 10)
        assert lease.call_count == 3, "what is due is asked where something became due"


def test_a_stop_ends_what_is_kept_open(setup: Make) -> None:
    peer = ScriptedPacs()
    here = setup(peer, keep_open_seconds=OPEN)
    with peer.running():
        with kept_open(here, DestinationQueues(here.context)):
            assert peer.open_now == 1
        wait_for(lambda: peer.open_now == 0)


def test_where_the_destination_ends_what_idles_the_next_outputs_go_over_another(
    setup: Make,
) -> None:
    peer = ScriptedPacs()
    here = setup(peer, keep_open_seconds=OPEN, associations=1)
    queues = DestinationQueues(here.context)
    with peer.running(), kept_open(here, queues):
        peer.abort()
        wait_for(lambda: peer.open_now == 0)
        job_id = here.report()
        queues.serve(NAME)
        delivered(here, job_id)
        assert (peer.associations, peer.open_now) == (3, 1)
    assert {each.attempt for each in here.ledger.queries.deliveries(job_id)} == {1}


def test_outputs_that_come_alone_leave_no_association_open(setup: Make) -> None:
    peer = ScriptedPacs()
    here = setup(peer)
    with peer.running():
        here.report()
        here.deliver()
        wait_for(lambda: peer.open_now == 0)
    assert peer.associations == 1


def test_a_stream_is_what_comes_within_the_time_that_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("workers.delivery.worker.time.monotonic", lambda: now)
    stream, kept = Stream(0.25), []
    for pause in (0.0, 0.2, 0.25, 0.3, 0.1):
        now += pause
        stream.begin()
        kept.append(stream.keep_open_seconds)
        stream.end()
    assert kept == [0, 0.25, 0.25, 0, 0.25]
