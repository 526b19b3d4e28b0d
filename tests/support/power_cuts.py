"""A life of the service on a losing disk, and what must be left of it whenever the power is cut.

The disk is a stand-in (`peers.losing_disk`). What is left is opened by the service's own code.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from peers.losing_disk.cut import Tree, cut, digest, replay
from peers.losing_disk.model import Operation
from peers.losing_disk.mount import LosingDisk
from peers.scripted_pacs import ScriptedPacs
from synthetic.objects import make_cr

from service.dicom.statuses import SUCCESS
from service.domain.delivery import DeliveryState
from service.domain.job import JobState
from service.settings import Settings
from service.storage.ledger import Ledger, LedgerError
from service.storage.opening import open_stores
from service.storage.spool import Spool
from service.storage.spool_identity import WrongSpoolError
from support.delivery_worker import DeliverySetup

STATE: Final = "var/lib/state"  # none of these folders is there at first
_SIDE: Final = 48  # rows and columns of an instance: its files are small
_REPORTED: Final = frozenset({JobState.REPORTED, JobState.DELIVERED})


@dataclass
class Life:
    """What was done on the disk, and the files that the service made on it."""

    operations: list[Operation] = field(default_factory=list)
    received: dict[str, bytes] = field(default_factory=dict)  # the file of each job
    outputs: dict[str, bytes] = field(default_factory=dict)  # by the name of the file
    stored: list[bytes] = field(default_factory=list)  # the data sets that the destination has

    def until(self, mark: str) -> list[Operation]:
        """Return what was done before the first mark that begins so."""
        marks = (each.name == "mark" and each.path.startswith(mark) for each in self.operations)
        return self.operations[: list(marks).index(True)]


def live(disk: LosingDisk, pacs: ScriptedPacs) -> Life:
    """Start on an empty disk, receive, report, deliver, stop, start again, receive again."""
    life = Life()
    pacs.answer = lambda _: disk.mark("stored") or SUCCESS  # type: ignore[func-returns-value]
    with open_stores(Settings(state_dir=disk.folder / STATE)):
        disk.mark("started")
    setup = DeliverySetup(disk.folder / STATE, pacs)
    job_ids = [receive(life, disk, setup) for _ in range(2)]
    infer(setup)
    disk.mark(f"reported {' '.join(job_ids)}")
    setup.deliver()
    disk.mark(f"delivered {' '.join(job_ids)}")
    setup.ledger.close()  # the last connection: SQLite moves its log into the database
    disk.mark("stopped")
    again = DeliverySetup(disk.folder / STATE, pacs)
    receive(life, disk, again)
    life.outputs = again.workspace.outbox()
    again.ledger.close()
    life.stored = [data_set for _, _, data_set in pacs.received]
    life.operations = disk.operations()
    return life


def go_on(disk: LosingDisk, pacs: ScriptedPacs, before: Life) -> Life:
    """Go on with what an earlier cut left on the disk: report and deliver it."""
    setup = DeliverySetup(disk.folder / STATE, pacs)
    setup.ledger.release("test/")  # as the supervisor does after a start
    found = [job_id for job_id in before.received if setup.ledger.queries.job(job_id)]
    disk.mark(f"answered {' '.join(found)}")
    infer(setup)
    disk.mark(f"reported {' '.join(found)}")
    setup.deliver()
    disk.mark(f"delivered {' '.join(found)}")
    setup.ledger.close()
    disk.mark("stopped")
    received = {job_id: before.received[job_id] for job_id in found}
    return Life(disk.operations(), received, setup.workspace.outbox())


def receive(life: Life, disk: LosingDisk, setup: DeliverySetup) -> str:
    """Receive an instance, and mark that its sender was answered."""
    job_id = setup.workspace.receive(make_cr(rows=_SIDE, columns=_SIDE))
    disk.mark(f"answered {job_id}")
    life.received[job_id] = setup.workspace.spool.inbox(job_id).read_bytes()
    return job_id


def infer(setup: DeliverySetup) -> None:
    """Report every job that is due."""
    with ThreadPoolExecutor(1) as decoders:
        setup.workspace.worker(decoders).infer_due()


@dataclass(frozen=True)
class Cut:
    """A moment at which the power is cut: what is left, and what was promised before."""

    tree: Tree
    operation: Operation  # the last one
    seed: int | None
    marks: Sequence[str]

    def promised(self, what: str) -> set[str]:
        """Return the jobs that were marked so before."""
        words = (each.split() for each in self.marks)
        return {job_id for first, *job_ids in words if first == what for job_id in job_ids}

    def stored(self, life: Life) -> list[bytes]:
        """Return the data sets that the destination had by then."""
        return life.stored[: self.marks.count("stored")]

    def __str__(self) -> str:
        return f"cut after {self.operation.name} {self.operation.path}, seed {self.seed}"


def cuts(
    operations: Sequence[Operation],
    seeds: Iterable[int | None],
    *,
    ordered: bool,
    every: bool = False,
) -> Iterator[Cut]:
    """Cut at every step; each state of the disk is returned once for the same promises.

    A step is a run of writes, any part of which a seed may keep, or one other operation; with
    `every` each write is a step.
    """
    marks: list[str] = []
    seen = set()
    following = [*operations[1:], None]
    for (operation, disk), then in zip(replay(operations, ordered=ordered), following, strict=True):
        if operation.name == "mark":
            marks.append(operation.path)
        if not every and then is not None and operation.name == then.name == "write":
            continue
        for seed in seeds:
            tree = cut(disk, seed)
            key = (digest(tree), len(marks))
            if key not in seen:
                seen.add(key)
                yield Cut(tree, operation, seed, tuple(marks))


def losses(life: Life, made: Cut, left: Path) -> list[str]:
    """Open what is left of the disk in a folder, and list what is lost or broken."""
    settings = Settings(state_dir=left / STATE)
    try:
        with open_stores(settings) as (ledger, spool):
            return [
                *_of_database(settings),
                *(
                    loss
                    for job_id in life.received
                    for loss in _of_job(life, made, job_id, ledger, spool)
                ),
            ]
    except (LedgerError, WrongSpoolError, OSError) as error:
        return [f"the stores do not open: {error}"]


def _of_database(settings: Settings) -> Iterator[str]:
    with closing(sqlite3.connect(settings.state_dir / "ledger.sqlite3")) as connection:
        for (found,) in connection.execute("PRAGMA integrity_check"):
            if found != "ok":
                yield f"the database: {found}"
        if connection.execute("PRAGMA foreign_key_check").fetchall():
            yield "rows that refer to none"


def _of_job(life: Life, made: Cut, job_id: str, ledger: Ledger, spool: Spool) -> Iterator[str]:
    job = ledger.queries.job(job_id)
    if job is None:
        if job_id in made.promised("answered"):
            yield "an instance whose sender was answered has no row"
        return
    path = spool.inbox(job_id)
    if not path.exists() or path.read_bytes() != life.received[job_id]:
        yield "a row without the whole bytes of its instance"
    if job_id in made.promised("reported") and job.state not in _REPORTED:
        yield "a report that was recorded is not"
    deliveries = ledger.queries.deliveries(job_id)
    if job.state in _REPORTED and not deliveries:
        yield "a reported job without deliveries"
    for each in ledger.queries.outputs(job_id):
        output = spool.outbox(job_id, each.kind, each.sop_instance_uid)
        if not output.exists() or output.read_bytes() != life.outputs[output.name]:
            yield "a recorded output that is not whole"
    if job_id in made.promised("delivered") and (
        job.state is not JobState.DELIVERED
        or any(each.state is not DeliveryState.DELIVERED for each in deliveries)
    ):
        yield "a delivery that was recorded is not"
