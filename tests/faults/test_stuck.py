"""Each part of `lobar up` reports its progress: one that makes none is replaced, others are not."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from peers.dcmtk import StoreSCP
from support.foreign_bundle import make_bundle
from support.lobar_process import LobarService, destination, wait_for
from support.system.ports import LOOPBACK

from service.domain.job import JobState

pytestmark = pytest.mark.dcmtk
Instances = Callable[[int], list[tuple[Path, Any]]]
ROLES: Final = ("infer", "listener", "deliver", "relay", "web")
STUCK_SECONDS: Final = 6
QUICK: Final = {
    "LOBAR_STUCK_SECONDS": str(STUCK_SECONDS),
    "LOBAR_DECODING__SECONDS": "1",
    "LOBAR_INFER__MAXIMUM_ATTEMPTS": "1",
}
HANGING: Final = """
import time
from pathlib import Path


class Hanging:
    '''A double of a model: it never ends while the file `hang` is beside the bundle.'''

    def __call__(self, images, network):
        if Path(__file__).parents[2].joinpath("hang").exists():
            time.sleep(1000)
        return network(images)
"""


def stuck(service: LobarService) -> list[str]:
    """List the parts that the supervisor found without progress, in order."""
    lines = [line for line in service.log.read_text().splitlines() if line.startswith("{")]
    return [each["role"] for each in map(json.loads, lines) if each["event"] == "part_stuck"]


@pytest.fixture(scope="module")
def service(
    dripping: str, receiver: StoreSCP, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LobarService]:
    """A service with a PACS, and with a destination that hangs and only gets what was not read."""
    quick = {"connect_seconds": 1, "response_seconds": 0.5}
    hanging = {"name": "web", "url": dripping, "outcomes": ["not_analysed"], **quick}
    outcomes = ["present", "absent", "indeterminate", "not_analysed"]
    pacs = destination(receiver, "pacs", outcomes=outcomes, outputs=["sr"], **quick)
    running = LobarService(tmp_path_factory.mktemp("lobar"), [hanging, pacs], **QUICK)
    running.start()
    yield running
    running.kill()


def test_each_part_that_is_stopped_is_replaced_and_idle_ones_are_left_alone(
    service: LobarService,
    instances: Instances,
    store: Callable[..., int],
) -> None:
    time.sleep(STUCK_SECONDS + 3)
    assert stuck(service) == []
    stopped = {role: service.part(role) for role in ROLES}
    for pid in stopped.values():
        os.kill(pid, signal.SIGSTOP)
    for role, pid in stopped.items():
        wait_for(lambda: service.part(role) != pid)  # noqa: B023 -- called before the next turn
    assert sorted(stuck(service)) == sorted(ROLES)
    service.wait_until_ready()
    ((file, dataset),) = instances(1)
    assert store(service, file) == 0
    assert service.settled(dataset.SOPInstanceUID).state == JobState.DELIVERED


def test_an_infer_worker_whose_model_hangs_is_replaced(
    tmp_path: Path,
    lobar_service: Callable[..., LobarService],
    storescp: Callable[..., StoreSCP],
    instances: Instances,
    store: Callable[..., int],
) -> None:
    def configure(configuration: dict[str, Any]) -> None:
        configuration["inferer"] = {"_target_": "scripts.hanging.Hanging"}

    bundle = make_bundle(tmp_path / "bundle", configuration=configure)
    (bundle / "scripts" / "hanging.py").write_text(HANGING)
    pacs = destination(storescp(), "pacs")
    service = lobar_service([pacs], **QUICK, LOBAR_BUNDLE__PATH=str(bundle))
    before = service.part("infer")
    hang = tmp_path / "hang"
    hang.touch()
    (file, dataset), (later, good) = instances(2)
    assert store(service, file) == 0
    wait_for(lambda: stuck(service))
    hang.unlink()
    job = service.settled(dataset.SOPInstanceUID)
    assert (job.state, job.reason) == (JobState.PARKED, "attempts-exhausted")
    assert service.part("infer") != before
    assert store(service, later) == 0
    done = service.settled(good.SOPInstanceUID)
    assert (done.state, done.reason) == (JobState.DELIVERED, None)
    assert stuck(service) == ["infer"]


@pytest.fixture(scope="module")
def dripping() -> Iterator[str]:
    """A service that never ends its response: a byte of a header now and then; give its URL."""
    ends = threading.Event()
    with socket.create_server((LOOPBACK, 0)) as listening:
        listening.settimeout(0.2)

        def drip() -> None:
            answering: list[socket.socket] = []
            while not ends.is_set():
                try:
                    connection, _ = listening.accept()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Wait: ")
                    answering.append(connection)
                except TimeoutError:
                    pass
                answering = [each for each in answering if _is_taken(each)]
            for each in answering:
                each.close()

        thread = threading.Thread(target=drip)
        thread.start()
        yield f"http://{LOOPBACK}:{listening.getsockname()[1]}"
        ends.set()
        thread.join()


def _is_taken(connection: socket.socket) -> bool:
    try:
        connection.sendall(b".")
    except OSError:
        connection.close()
        return False
    return True


def test_a_deliver_worker_that_hangs_on_one_destination_is_replaced_and_others_get_their_reports(
    service: LobarService,
    receiver: StoreSCP,
    instances: Instances,
    store: Callable[..., int],
) -> None:
    service.wait_until_ready()
    before, received = service.part("deliver"), len(receiver.received())
    earlier = len(stuck(service))
    ((file, dataset),) = instances(1)
    dataset.BodyPartExamined = "KNEE"  # it is not analysed
    dataset.save_as(file, enforce_file_format=True)
    assert store(service, file) == 0
    wait_for(lambda: stuck(service)[earlier:])
    wait_for(lambda: service.part("deliver") != before)
    wait_for(lambda: len(receiver.received()) == received + 1)
    assert set(stuck(service)[earlier:]) == {"deliver"}
