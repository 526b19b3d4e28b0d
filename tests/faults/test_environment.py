"""A predictor that fails for everyone, and a full outbox: work waits, and goes on by itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from peers.dcmtk import StoreSCP
from support.foreign_bundle import make_bundle
from support.lobar_process import LobarService, destination, wait_for
from support.system.http import HTTP
from support.system.small_disk import SmallDisk, small_disk

from service.domain.job import Job, JobState
from service.errors import EX_TEMPFAIL

pytestmark = pytest.mark.dcmtk
Instances = Callable[[int], list[tuple[Path, Any]]]

OUTBOX_BYTES: Final = 256 << 10
HEALING: Final = """
from pathlib import Path


class Healing:
    '''Raise until a file exists.'''

    def __init__(self, file):
        self.file = Path(file)

    def __call__(self, images, network):
        if not self.file.exists():
            raise RuntimeError("as a library might")
        return network(images)
"""


@pytest.fixture(scope="module")
def remedy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file without which the predictor fails."""
    return tmp_path_factory.mktemp("remedy") / "healed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lobar")


@pytest.fixture(scope="module")
def outbox(folder: Path) -> Iterator[SmallDisk]:
    """The outbox of the service, on a file system of its own."""
    with small_disk(folder / "state" / "spool" / "outbox", OUTBOX_BYTES) as disk:
        yield disk


@pytest.fixture(scope="module")
def service(
    folder: Path, outbox: SmallDisk, receiver: StoreSCP, remedy: Path
) -> Iterator[LobarService]:
    """A service whose predictor fails until it is healed."""
    assert outbox.free_bytes() == OUTBOX_BYTES

    def fail_until_healed(configuration: dict[str, Any]) -> None:
        configuration["inferer"] = {"_target_": "scripts.healing.Healing", "file": str(remedy)}

    bundle = make_bundle(folder / "failing", configuration=fail_until_healed)
    (bundle / "scripts" / "healing.py").write_text(HEALING)
    service = LobarService(
        folder,
        [destination(receiver, "pacs", outputs=["sr"])],
        LOBAR_BUNDLE__PATH=str(bundle),
        LOBAR_INFER__MAXIMUM_BACKOFF_SECONDS="1",
        LOBAR_RELAY__INTERVAL_SECONDS="0.2",
    )
    service.start()
    yield service
    service.kill()


def missing(service: LobarService) -> list[str]:
    """What readiness says is missing."""
    listed: list[str] = HTTP.get(f"{service.url}/health/ready").json()["missing"]
    return listed


def job(service: LobarService, dataset: Any) -> Job:  # noqa: ANN401 -- a data set
    (job,) = service.jobs(dataset.SOPInstanceUID)
    return job


def require_waiting(service: LobarService, datasets: list[Any], fault: str) -> None:
    """Require that jobs wait for a fault to go, which used up no try."""
    ledger = service.ledger()
    for dataset in datasets:
        waiting = job(service, dataset)
        assert waiting.state is JobState.RECEIVED
        assert waiting.tries <= (waiting.holder is not None), "only a lease that goes on counts"
        postponed = [
            event.detail for event in ledger.queries.trace(waiting.id) if event.name == "postponed"
        ]
        assert all((each["why"], each["counts"]) == (fault, False) for each in postponed)
    ledger.close()


def require_all_reported(service: LobarService, receiver: StoreSCP, datasets: list[Any]) -> None:
    """Require that every instance is delivered once, and that the service is whole again."""
    before = len(receiver.received())
    for dataset in datasets:
        assert service.settled(dataset.SOPInstanceUID).state is JobState.DELIVERED
    wait_for(lambda: missing(service) == [])
    assert len(receiver.received()) <= before + len(datasets)
    assert len(service.all_jobs()) == len(receiver.received())
    assert service.balance() == 0
    assert service.metrics()['lobar_breaker_open{destination="",stage="infer"}'] == 0


def test_a_predictor_that_fails_until_healed_uses_up_no_try_and_its_worker_is_restarted(
    service: LobarService,
    receiver: StoreSCP,
    remedy: Path,
    instances: Instances,
    store: Callable[..., int],
) -> None:
    infer = service.part("infer")
    made = instances(3)
    datasets = [dataset for _, dataset in made]
    assert store(service, *(file for file, _ in made)) == 0
    wait_for(lambda: missing(service) == ["infer: breaker open, predictor-failed"])
    assert service.metrics()['lobar_breaker_open{destination="",stage="infer"}'] == 1
    wait_for(lambda: service.part("infer") != infer)
    require_waiting(service, datasets, "predictor-failed")
    openings = service.metrics()['lobar_breaker_openings_total{fault="predictor-failed"}']
    assert openings >= 4, "it is restarted after several openings in a row"
    assert missing(service), "it is not ready meanwhile"
    ends = [line for line in service.log.read_text().splitlines() if '"part_died"' in line]
    assert ends
    assert all(f'"returncode": {EX_TEMPFAIL}' in line for line in ends), "it ended by itself"
    remedy.touch()
    require_all_reported(service, receiver, datasets)


def test_a_full_outbox_on_another_file_system_uses_up_no_try_and_work_goes_on_with_room(
    service: LobarService,
    outbox: SmallDisk,
    receiver: StoreSCP,
    remedy: Path,
    instances: Instances,
    store: Callable[..., int],
) -> None:
    remedy.touch()  # also where this test runs alone
    service.wait_until_ready()
    infer = service.part("infer")
    outbox.fill()
    made = instances(3)
    datasets = [dataset for _, dataset in made]
    assert store(service, *(file for file, _ in made)) == 0, "receiving goes on"
    wait_for(lambda: missing(service) == ["infer: breaker open, disk-full"])
    openings = 'lobar_breaker_openings_total{fault="disk-full"}'
    wait_for(lambda: service.metrics()[openings] > 4)
    require_waiting(service, datasets, "disk-full")
    assert receiver.received() == [] or len(receiver.received()) < len(service.all_jobs())
    outbox.make_room()
    require_all_reported(service, receiver, datasets)
    assert service.part("infer") == infer, "another process would not have more room"
    assert list((outbox.folder / "incomplete").iterdir()) == []
