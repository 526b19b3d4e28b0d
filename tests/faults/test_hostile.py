"""Hostile instances sent to a running service: each ends coded, and the others go on.

The files are those of `../shared/data/cases`; the bombs are made here. `tests/bench/hostile.py` has
the times, which are never asserted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from peers.dcmtk import StoreSCP
from support.hostile import Memory, Part10, bomb, send, watched_memory
from support.lobar_process import LobarService, destination, wait_for
from support.system.http import HTTP
from support.system.programs import need_program
from synthetic.objects import make_cr

from service.domain.job import Job, JobState
from service.domain.reasons import Reason

MOST_MEMORY: Final = 2_000_000_000  # bytes of all processes with all decoders, whatever is sent
CONTRADICTORY: Final = (
    "crash__bad-colour-j2k-says-mono.dcm",
    "crash__bad-grey-j2k-says-rgb.dcm",
)
REFUSED: Final = {0xA900, 0xC000}  # by the listener, for what is in a data set (PS3.4 table B.2-1)

pytestmark = pytest.mark.dcmtk


@dataclass(frozen=True, slots=True)
class Watched:
    """A running service, its infer worker at the start, and its greatest memory so far."""

    service: LobarService
    infer: int
    memory: Memory

    def send(self, *instances: Part10) -> list[int | None]:
        return send(self.service.dicom_port, *instances)

    def settled(self, instance: Part10) -> Job:
        return self.service.settled(instance.sop_instance_uid)

    def require_unharmed(self) -> None:
        """Require that no part was restarted, no job lost and no memory wasted."""
        log = self.service.log.read_text()
        assert self.service.part("infer") == self.infer
        assert "part_died" not in log
        assert "part_stuck" not in log
        assert "Traceback" not in log
        assert self.service.balance() == 0
        assert self.memory.peak <= MOST_MEMORY, dict(self.memory.by_process)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    need_program("storescp")
    pacs = StoreSCP(tmp_path_factory.mktemp("pacs"))
    pacs.start()
    service = LobarService(
        tmp_path_factory.mktemp("lobar"),
        [destination(pacs, "pacs")],
        # the search for an engine takes memory of its own for seconds, whatever is sent
        LOBAR_BUNDLE__ENGINE="torch",
        # a hundred megapixels take seconds, and on a busy machine more than the default
        LOBAR_DECODING__SECONDS="60",
    )
    service.start()
    with watched_memory(service.state_dir) as memory:
        yield Watched(service, service.part("infer"), memory)
    service.kill()
    pacs.kill()


def good(count: int) -> list[Part10]:
    return [Part10.of_dataset(make_cr()) for _ in range(count)]


@pytest.mark.data
def test_a_flood_of_hostile_instances_stops_nothing(watched: Watched, radiographs: Path) -> None:
    cases = radiographs / "cases"
    crash = Part10.of((cases / "hostile" / "crash.dcm").read_bytes())
    contradictory = [Part10.of((cases / name).read_bytes()) for name in CONTRADICTORY]
    expected: dict[Part10, set[Reason]] = {}
    radiographs_between = good(8)
    for each in radiographs_between:
        expected |= {crash.renamed(): {Reason.PIXEL_FORMAT} for _ in range(4)}
        expected |= {one.renamed(): {Reason.CODESTREAM} for one in contradictory for _ in range(3)}
        expected[each] = set()
    assert set(watched.send(*expected)) == {0}
    for instance, reasons in expected.items():
        job = watched.settled(instance)
        if not reasons:
            assert job.state is JobState.DELIVERED
            continue
        assert (job.state, job.attempt) == (JobState.NOT_ANALYSED, 1)
        assert job.reason in reasons
    watched.require_unharmed()


def test_instances_behind_bombs_are_delivered(watched: Watched) -> None:
    refused = [Part10.of_dataset(bomb(30_000, 1000)) for _ in range(3)]
    slow = [Part10.of_dataset(bomb(50, 9000)) for _ in range(3)]  # few enough scans to be decoded
    behind = good(5)
    assert set(watched.send(*refused, *slow, *behind)) == {0}
    for each in behind:
        assert watched.settled(each).state is JobState.DELIVERED
    for each in refused:
        assert watched.settled(each).reason is Reason.SIZE
    for each in slow:
        job = watched.settled(each)
        assert (job.state, job.tries) == (JobState.NOT_ANALYSED, 1)
        assert job.reason in {Reason.BLANK, Reason.DECODER_TIMEOUT}
    watched.require_unharmed()


@pytest.mark.data
def test_each_hostile_instance_ends_coded_at_the_first_attempt(
    watched: Watched, radiographs: Path
) -> None:
    files = sorted((radiographs / "cases" / "hostile").glob("*.dcm"))
    assert files
    for file in files:
        instance = Part10.of(file.read_bytes()).renamed()
        (status,) = watched.send(instance)
        if status == 0:
            job = watched.settled(instance)
            assert (job.state, job.attempt) == (JobState.NOT_ANALYSED, 1), file.name
            assert job.reason, file.name
        else:
            assert status is None or status in REFUSED, file.name
    watched.require_unharmed()


@pytest.mark.data
def test_a_picture_of_a_hundred_megapixels_in_colours_is_converted_and_closed(
    watched: Watched, radiographs: Path
) -> None:
    picture = (radiographs / "cases" / "hostile" / "rgba1.png").read_bytes()
    answer = HTTP.post(
        f"{watched.service.url}/api/instances", files={"files": ("a.png", picture)}, timeout=120
    )
    assert answer.status_code == 201, answer.text
    (instance,) = answer.json()["instances"]

    def job() -> Job | None:
        found = {each.id: each for each in watched.service.all_jobs()}[instance["job_id"]]
        return found if found.state is JobState.NOT_ANALYSED else None

    assert wait_for(job).reason is Reason.BLANK
    watched.require_unharmed()
