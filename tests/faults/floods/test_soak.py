"""A whole service under steady load and floods keeps its memory, descriptors and threads.

`make soak SECONDS=1800` takes half an hour; without it a few seconds show what leaks with each
association, and not what leaks once in a while.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from peers.dcmtk import StoreSCP, dcmtk_store
from peers.raw_scu import Closed, Sender, data_set_bytes, p_data
from support.floods import OTHERS, flooding
from support.listener import CR, CR_EXPLICIT
from support.lobar_process import LobarService, destination, wait_for
from support.soak import Samples
from support.system.http import HTTP
from synthetic.objects import make_cr

SHORT = 12
BURST = 24
NEW_EVERY = 10  # turns of the load: the others repeat an instance
TURN_SECONDS = 0.1


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """How long the load lasts."""
    return float(request.config.getoption("--soak-seconds") or SHORT)


class Load:
    """Senders that store, repeat, echo and abort, a turn after the other."""

    def __init__(self, service: LobarService) -> None:
        self._service = service
        self._repeated = make_cr(rows=128, columns=128)
        self.turns = self.stored = 0

    def turn(self) -> None:
        """Do one turn of the load: four associations, and a look at the pages of the machine."""
        port = self._service.dicom_port
        self.turns += 1
        is_new = self.turns % NEW_EVERY == 1
        dataset = make_cr(rows=128, columns=128) if is_new else self._repeated
        with Sender(port, CR_EXPLICIT, calling="STEADY") as sender:
            assert sender.store(CR, dataset.SOPInstanceUID, data_set_bytes(dataset)) == 0
            sender.release()
        self.stored += is_new
        with Sender(port, calling="STEADY") as sender:
            assert sender.echo() == 0
            sender.release()
        with Sender(port, CR_EXPLICIT, calling="ABORTING") as sender:
            sender.begin_store(CR, "2.25.1")
            sender.say(p_data([(1, False, False, b"\0" * 5000)]))
            sender.abort()
        with suppress(Closed), Sender(port, CR_EXPLICIT, calling="BROKEN") as sender:
            sender.say(b"\xff" * 100)
            sender.read_pdu()
        if is_new:
            for page in ("/metrics", "/health/ready"):
                HTTP.get(self._service.url + page)

    def burst(self, count: int) -> None:
        """Store instances at once, and wait until they are analysed and delivered."""
        new = [make_cr(rows=128, columns=128) for _ in range(count)]
        with Sender(self._service.dicom_port, CR_EXPLICIT, calling="STEADY") as sender:
            for each in new:
                assert sender.store(CR, each.SOPInstanceUID, data_set_bytes(each)) == 0
            sender.release()
        self.stored += count
        for each in new:
            self._service.settled(each.SOPInstanceUID)


@contextmanager
def sampling(service: LobarService, every: float) -> Iterator[Samples]:
    """Sample the processes of a service."""
    samples, stopping = Samples(), threading.Event()

    def run() -> None:
        while not stopping.wait(every):
            samples.take(service.state_dir)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield samples
    finally:
        stopping.set()
        thread.join()


@pytest.mark.dcmtk
@pytest.mark.slow
def test_nothing_grows_under_steady_load_and_floods(
    lobar_service: Callable[..., LobarService],
    storescp: Callable[..., StoreSCP],
    seconds: float,
    tmp_path: Path,
) -> None:
    service = lobar_service(
        [destination(storescp(), "pacs")],
        LOBAR_DICOM__NEGOTIATION_SECONDS="2",
        LOBAR_DICOM__MAXIMUM_CONNECTIONS="150",
        LOBAR_BUNDLE__ENGINE="torch",  # an engine that is found meanwhile has memory of its own
    )
    load = Load(service)
    for _ in range(2 * NEW_EVERY):  # whatever is created once
        load.turn()
    load.burst(BURST)  # and where several are analysed at a time
    file = tmp_path / "instance.dcm"
    make_cr(rows=64, columns=64).save_as(file, enforce_file_format=True)
    until = time.monotonic() + seconds
    with (
        flooding(service.dicom_port, 100, sources=OTHERS[:2]),
        flooding(service.dicom_port, 10, sources=OTHERS[2:], says=b"GET / HTTP/1.1\r\n\r\n"),
        sampling(service, min(2, seconds / 60)) as samples,
    ):
        while time.monotonic() < until:
            load.turn()
            if load.turns % (5 * NEW_EVERY) == 0:
                assert dcmtk_store(service.dicom_port, "LOBAR", [file]).returncode == 0
            time.sleep(TURN_SECONDS)
    trends = samples.trends()
    print(f"\n{4 * load.turns} associations, {load.stored} new instances, {seconds:.0f} s")  # noqa: T201
    print("\n".join(trend.line() for trend in trends))  # noqa: T201 -- with pytest -s
    assert len(trends) >= 6, "a process was started anew, or ended"
    assert "part_died" not in service.log.read_text()
    assert [line for trend in trends for line in trend.growth()] == []
    wait_for(lambda: not list((service.state_dir / "spool" / "incoming").iterdir()))
    assert service.balance() == 0
