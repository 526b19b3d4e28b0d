"""The power is cut at every step of receive, report and deliver: nothing answered is lost.

The disk is a stand-in for one (`peers/losing_disk`).
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from peers.dcmtk import dcmtk_store
from peers.losing_disk.cut import ONLY_SYNCED, lay_out
from peers.losing_disk.model import Operation
from peers.losing_disk.mount import losing_disk
from peers.scripted_pacs import ScriptedPacs
from support.delivery_worker import DeliverySetup
from support.lobar_process import LobarService, destination
from support.power_cuts import STATE, Cut, Life, cuts, go_on, infer, live, losses
from support.system.programs import need_program
from synthetic.objects import make_cr

from service.domain.job import JobState
from service.storage.spool import Spool

ORDERED: Final = pytest.mark.parametrize("ordered", [False, True], ids=["loose", "ordered"])
MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- hundreds of folders are written and removed
Matches = Callable[[Operation], bool]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    pacs = ScriptedPacs()
    with losing_disk(tmp_path_factory.mktemp("power")) as disk, pacs.running():
        return live(disk, pacs)


@pytest.fixture(scope="module")
def bench() -> Iterator[Path]:
    """Return a folder for what is left after a cut, in memory where there is such a disk."""
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lobar-cut-", dir=place) as folder:
        yield Path(folder)


def verdict(life: Life, made: Cut, bench: Path) -> list[str]:
    """Lay out what is left after a cut, and list what is lost."""
    left = lay_out(made.tree, bench / "left")
    try:
        return [f"{loss}: {made}" for loss in losses(life, made, left)]
    finally:
        shutil.rmtree(left)


@ORDERED
def test_nothing_answered_is_lost_at_any_step(
    life: Life,
    bench: Path,
    ordered: bool,  # noqa: FBT001
    pytestconfig: pytest.Config,
) -> None:
    full = bool(pytestconfig.getoption("--full"))
    seeds = (ONLY_SYNCED, *range(2 if full else 1))
    made = [
        each
        for each in cuts(life.operations, seeds, ordered=ordered, every=full)
        if "started" in each.marks
    ]
    assert len(made) > (600 if full else 80), "different states of the disk"
    assert [loss for each in made for loss in verdict(life, each, bench)] == []
    assert {len(each.promised("answered")) for each in made} == {0, 1, 2, 3}


def test_a_first_start_that_was_cut_can_be_started_again(life: Life, bench: Path) -> None:
    # every step but most of the hundreds of folders, one more or less of which is like another
    started = life.until("started")
    made = list(cuts(started, (ONLY_SYNCED, 0), ordered=False))
    chosen = [each for each in made if each.operation.name != "mkdir"] + made[::50]
    assert len(chosen) > 20
    assert [loss for each in chosen for loss in verdict(life, each, bench)] == []


@ORDERED
def test_the_service_goes_on_after_a_cut_and_doubles_nothing(
    life: Life,
    bench: Path,
    ordered: bool,  # noqa: FBT001
) -> None:
    steps = cuts(life.operations, (0,), ordered=ordered)
    at_marks = [
        each for each in steps if each.operation.name == "mark" and each.promised("answered")
    ]
    assert len(at_marks) >= 7
    for made in at_marks:
        pacs = ScriptedPacs()
        left = lay_out(made.tree, bench / "left")
        with pacs.running():
            setup = DeliverySetup(left / STATE, pacs)
            setup.ledger.release("test/")  # as the supervisor does after a start
            infer(setup)
            setup.deliver()
            jobs = [setup.ledger.queries.job(job_id) for job_id in life.received]
            setup.ledger.close()
        shutil.rmtree(left)
        states = [job.state for job in jobs if job is not None]
        assert states == [JobState.DELIVERED] * len(states), made
        assert len(states) >= len(made.promised("answered")), made
        data_sets = {*made.stored(life), *(data_set for _, _, data_set in pacs.received)}
        assert len(data_sets) == 2 * len(states), f"a report and an overlay of each: {made}"


@pytest.mark.parametrize("step", ["the commit of a report", "the commit of a delivery"])
def test_a_second_cut_during_the_recovery_from_the_first_loses_nothing(
    life: Life, bench: Path, tmp_path: Path, step: str
) -> None:
    mark = "reported" if "report" in step else "delivered"
    until = life.until(mark)
    *_, first = cuts(until[:-1], (1,), ordered=False)  # the last fsync of the log was not done
    pacs = ScriptedPacs()
    with losing_disk(tmp_path) as disk, pacs.running():
        disk.put(first.tree)
        again = go_on(disk, pacs, life)
    assert len(again.received) == 2
    made = [each for each in cuts(again.operations, (0,), ordered=True) if each.marks]
    assert len(made) > 10
    assert [loss for each in made for loss in verdict(again, each, bench)] == []


def test_discarded_bytes_do_not_come_back(tmp_path: Path) -> None:
    with losing_disk(tmp_path) as disk:
        spool = Spool(disk.folder / "spool")
        spool.prepare()
        (spool.incoming / "arrived").write_bytes(b"bytes")
        kept = [
            spool.accept("0" * 32, spool.incoming / "arrived"),
            spool.put_output("0" * 32, "sr", "1.2.3", b"report"),
        ]
        disk.mark("kept")
        spool.discard("0" * 32)
        disk.mark("discarded")
        operations = disk.operations()
    names = {f"/{path.relative_to(disk.folder)}" for path in kept}
    at_marks = [
        made
        for made in cuts(operations, (ONLY_SYNCED, *range(9)), ordered=False)
        if made.operation.name == "mark"
    ]
    assert {made.marks[-1] for made in at_marks} == {"kept", "discarded"}
    for made in at_marks:
        found = names & made.tree.keys()
        assert found == (names if made.marks[-1] == "kept" else set()), made


def synced(name: str, start: str) -> Matches:
    """Match an fsync of what lies below a path, or of the one thing at it."""
    return lambda each: (
        each.name == name
        and (each.path.startswith(start) if start.endswith("/") else each.path == start)
    )


@pytest.mark.parametrize(
    "forgotten",
    [
        pytest.param(synced("fsyncdir", "/var/lib"), id="the state directory's entry"),
        pytest.param(synced("fsyncdir", "/var"), id="the entry of its parent, which is new too"),
        pytest.param(synced("fsyncdir", f"/{STATE}/spool"), id="the folders of the spool"),
        pytest.param(synced("fsync", f"/{STATE}/spool/incoming/"), id="an instance"),
        pytest.param(synced("fsyncdir", f"/{STATE}/spool/inbox/"), id="its name in the inbox"),
        pytest.param(synced("fsync", f"/{STATE}/spool/outbox/"), id="an output"),
        pytest.param(synced("fsyncdir", f"/{STATE}/spool/outbox/"), id="its name in the outbox"),
        pytest.param(synced("fsync", f"/{STATE}/ledger.sqlite3-wal"), id="a commit"),
        pytest.param(synced("fsync", f"/{STATE}/ledger.sqlite3"), id="the database"),
    ],
)
def test_each_fsync_is_needed(life: Life, bench: Path, forgotten: Matches) -> None:
    """Leave out one kind of fsync of the record, as if the service forgot it: a cut shows it."""
    operations = [each for each in life.operations if not forgotten(each)]
    assert len(operations) < len(life.operations)
    steps = cuts(operations, (ONLY_SYNCED, 0, 1), ordered=False)
    after_start = (each for each in steps if each.promised("answered"))
    assert any(verdict(life, each, bench) for each in after_start if each.operation.name == "mark")


def steps_before(life: Life, mark: str, after: str) -> list[str]:
    """Name the steps between two marks that decide what survives, in their order."""
    names = {
        ("fsync", "spool/incoming"): "fsync the instance",
        ("rename", "spool/incoming"): "rename it into the inbox",
        ("fsyncdir", "spool/inbox"): "fsync the inbox",
        ("fsync", "spool/outbox"): "fsync an output",
        ("rename", "spool/outbox"): "rename it into the outbox",
        ("fsyncdir", "spool/outbox"): "fsync the outbox",
        ("fsync", "ledger.sqlite3-wal"): "commit",
        ("mark", "stored"): "the destination answers",
    }
    between = life.until(mark)[len(life.until(after)) :]
    return [
        name
        for each in between
        for (operation, start), name in names.items()
        if each.name == operation and each.path.removeprefix(f"/{STATE}/").startswith(start)
    ]


def test_the_order_of_fsyncs_is_the_one_that_is_written_down(life: Life) -> None:
    first, second = list(life.received)[:2]
    assert steps_before(life, f"answered {second}", f"answered {first}") == [
        *("fsync the instance", "rename it into the inbox", "fsync the inbox", "commit"),
    ]
    output = ("fsync an output", "rename it into the outbox", "fsync the outbox")
    reporting = steps_before(life, "reported", f"answered {second}")
    assert reporting == ["commit", *(*output, *output, "commit") * 2], "a lease, then each job"
    lease, *delivering = steps_before(life, "delivered", "reported")
    # the next output is on its way while the answer to the one before is committed
    answers, commits = "the destination answers", "commit"
    assert lease == commits
    assert delivering.count(answers) == 4
    assert delivering[-1] == commits, "answers that come together are committed together"
    so_far = [delivering[:end] for end in range(len(delivering) + 1)]
    assert all(steps.count(commits) <= steps.count(answers) for steps in so_far)


@pytest.mark.full
def test_the_whole_service_loses_nothing_answered(bench: Path, tmp_path: Path) -> None:
    """All parts at once on the disk, with the model and real senders; cut at some hundred steps."""
    need_program("storescu")
    pacs, life = ScriptedPacs(), Life()
    with losing_disk(tmp_path) as disk, pacs.running():
        service = LobarService(
            tmp_path, [destination(pacs, "pacs")], LOBAR_STATE_DIR=str(disk.folder / STATE)
        )
        service.state_dir = disk.folder / STATE
        service.start()
        try:
            disk.mark("started")
            for _ in range(4):
                dataset = make_cr(rows=96, columns=96)
                dataset.save_as(tmp_path / "instance.dcm", enforce_file_format=True)
                arguments = (service.dicom_port, service.ae_title, [tmp_path / "instance.dcm"])
                assert dcmtk_store(*arguments).returncode == 0
                (job,) = service.jobs(dataset.SOPInstanceUID)
                disk.mark(f"answered {job.id}")
                assert service.settled(dataset.SOPInstanceUID).state is JobState.DELIVERED
                disk.mark(f"reported {job.id}")
                disk.mark(f"delivered {job.id}")
        finally:
            service.kill()
        spool = Spool(disk.folder / STATE / "spool")
        ledger = service.ledger()
        for job in ledger.queries.recent(10):
            life.received[job.id] = spool.inbox(job.id).read_bytes()
        ledger.close()
        life.outputs = {
            path.name: path.read_bytes() for path in (spool.root / "outbox").glob("??/*.dcm")
        }
        life.operations = disk.operations()
    made = [each for each in cuts(life.operations, (ONLY_SYNCED, 0), ordered=False) if each.marks]
    chosen = [*made[:: max(1, len(made) // 300)], made[-1]]
    assert len(chosen) > 100
    assert {len(each.promised("answered")) for each in chosen} == {0, 1, 2, 3, 4}
    assert [loss for each in chosen for loss in verdict(life, each, bench)] == []
