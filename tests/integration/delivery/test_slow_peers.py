"""A destination that reads slowly is no reason to replace the worker; one that is silent is left.

Where a clock matters it is one that goes on by a second for each piece that the peer reads.
"""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from peers.scripted_pacs import SC, ScriptedPacs
from peers.web_service import Request, Response, WebService
from pydicom.dataset import Dataset
from support.delivery_worker import NAME, DeliverySetup
from synthetic.objects import make_sc

from service.domain.delivery import Delivery
from service.domain.job import JobState
from service.settings import DimseDestination, WebDestination
from service.telemetry.progress import Progress, StuckWork
from workers.delivery.stored_output import NoResponseError
from workers.delivery.transport import open_transport

LIMIT_SECONDS = 70  # the kernel takes in some 30 pieces before the peer reads
PIECES = 150  # of an object, at least
Peer = WebService | ScriptedPacs


class SlowReading:
    """A clock that goes on with each piece read, and what was found stuck by it meanwhile."""

    def __init__(self) -> None:
        self.pieces = 0
        self.progress = Progress(lambda: float(self.pieces))
        self.stuck: list[StuckWork] = []

    def piece_read(self) -> None:
        self.pieces += 1
        found = self.progress.stuck_work()
        if found is not None:
            self.stuck.append(found)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object of 5 MB."""
    file = tmp_path_factory.mktemp("outbox") / "large.dcm"
    dataset: Dataset = make_sc(rows=2400, columns=2400)
    dataset.save_as(file, enforce_file_format=True)
    assert file.stat().st_size > PIECES * 16 * 1024
    return file


def taken(_: Request) -> Response:
    return Response(200)


def service(piece_read: Callable[[], None]) -> WebService:
    return WebService(taken, piece_read=piece_read)


def pacs(piece_read: Callable[[], None]) -> ScriptedPacs:
    return ScriptedPacs(pdu_read=piece_read)


def to(peer: Peer, **seconds: float) -> WebDestination | DimseDestination:
    if isinstance(peer, WebService):
        return WebDestination.model_validate({"name": NAME, "url": peer.url, **seconds})
    where = {"ae_title": peer.ae_title, "host": peer.host, "port": peer.port}
    return DimseDestination.model_validate({"name": NAME, **where, **seconds})


@pytest.mark.parametrize(
    ("make", "direct"), [(service, True), (pacs, True), (pacs, False)], ids=["web", "pacs", "plain"]
)
def test_each_piece_that_a_slow_peer_reads_is_progress(
    large: Path,
    make: Callable[[Callable[[], None]], Peer],
    direct: bool,  # noqa: FBT001 -- pytest passes by name
) -> None:
    slow = SlowReading()
    touch = partial(slow.progress.touch, NAME)
    with (
        make(slow.piece_read).running() as peer,
        slow.progress.working(NAME, LIMIT_SECONDS),
        open_transport(to(peer), "LOBAR", [SC], touch, direct=direct) as transport,
    ):
        assert transport.send(large).taken
    assert slow.pieces > PIECES
    assert slow.stuck == []


def test_the_worker_hands_its_progress_to_the_transport(tmp_path: Path) -> None:
    slow = SlowReading()
    with pacs(slow.piece_read).running() as peer:
        setup = DeliverySetup(tmp_path / "state", peer, progress=slow.progress)
        job_id = setup.report(side=2400)
        with slow.progress.working(NAME, LIMIT_SECONDS):
            setup.deliver()
        assert setup.workspace.job(job_id).state is JobState.DELIVERED
        setup.ledger.close()
    assert slow.pieces > PIECES
    assert slow.stuck == []


def test_the_lease_of_what_moves_slowly_is_renewed(tmp_path: Path) -> None:
    leased: list[Delivery] = []
    setups: list[DeliverySetup] = []

    def piece_read() -> None:
        time.sleep(0.01)
        for setup in setups:
            setup.clock.pass_seconds(0.005)  # 150 times: more than a lease
            leased.extend(setup.ledger.deliveries.lease(NAME, "other/", 1, lease_seconds=60))

    with pacs(piece_read).running() as peer:
        setup = DeliverySetup(tmp_path / "state", peer, lease_seconds=0.3)
        job_id = setup.report(side=2400)
        setups.append(setup)
        setup.deliver()
        assert leased == []
        assert setup.workspace.job(job_id).state is JobState.DELIVERED
        setup.ledger.close()


def test_an_object_may_take_longer_than_a_response(large: Path) -> None:
    with pacs(partial(time.sleep, 0.015)).running() as peer:
        destination = to(peer, response_seconds=2)
        with open_transport(destination, "LOBAR", [SC]) as transport:
            assert transport.send(large).taken
    assert len(peer.received) == 1


@pytest.fixture(params=[service, pacs])
def silent(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A peer that reads the first of an object, and then no more."""
    ends = threading.Event()
    reads = iter([None] * 3)

    def wait() -> None:
        if next(reads, wait) is wait:
            ends.wait(60)

    with request.param(wait).running() as peer:
        yield peer
        ends.set()


def test_a_peer_that_stops_reading_is_given_up_on(large: Path, silent: Peer) -> None:
    before = set(threading.enumerate())
    touched = 0

    def touch() -> None:
        nonlocal touched
        touched += 1

    destination = to(silent, connect_seconds=5, response_seconds=1)
    with (
        open_transport(destination, "LOBAR", [SC], touch) as transport,
        pytest.raises(NoResponseError, match=r"^(no-answer|association-lost)$"),
    ):
        transport.send(large)
    assert 0 < touched < PIECES
    for each in set(threading.enumerate()) - before:
        if "Requestor" in each.name:  # of our association
            each.join(60)
            assert not each.is_alive()
