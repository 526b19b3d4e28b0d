"""Backup and restore: on each kind of database, to the other, while written to, and killed.

The commands are those of docs/operations.md.
"""

import gzip
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from peers.postgresql import PostgreSQLServer
from support.inference_worker import Workspace
from support.module_process import run_module
from support.purged import purge_finished
from support.routes import to
from synthetic.objects import make_cr

from service.admin.backup import back_up
from service.admin.backup_folder import MANIFEST, BackupError, read_entries, read_manifest
from service.admin.restore import restore, verify
from service.audit.recording import record_command
from service.domain.audit import Action
from service.domain.delivery import OutputRecord, Reference
from service.domain.job import ConclusionRecord, JobState, Revision
from service.domain.reasons import Reason
from service.domain.user import Role
from service.domain.verdict import Opinion
from service.settings import Settings, environment_without_settings
from service.storage.ledger import Ledger, LedgerError
from service.storage.ledger.transfer import Cells
from service.storage.opening import RESTORING, UnfinishedRestoreError, open_ledger
from service.storage.spool import Spool

SR = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.1"
)
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.1 + 0.2, operating_point="balanced", model="m 1"
)
SECRET = "a-secret-of-the-settings"
Place = Callable[..., Settings]


@pytest.fixture(params=["sqlite to sqlite", "sqlite to postgresql", "postgresql to sqlite"])
def kinds(request: pytest.FixtureRequest) -> list[str]:
    return str(request.param).split(" to ")


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """`place("elsewhere", "postgresql")`: a state directory and a database of a kind, empty."""
    databases = []

    def make(name: str, kind: str = "sqlite", **more: Any) -> Settings:  # noqa: ANN401 -- any
        settings = {"state_dir": tmp_path / name, **more}
        if kind == "postgresql":
            server: PostgreSQLServer = request.getfixturevalue("postgresql_server")
            databases.append((server, server.create_database()))
            settings["ledger"] = {"url": server.url(databases[-1][1])}
        return Settings(**settings)

    yield make
    for server, database in databases:
        server.drop_database(database)


def work(settings: Settings) -> Workspace:
    return Workspace(settings.state_dir, ledger=settings.ledger)


def report(house: Workspace, job_id: str, *destinations: str) -> None:
    """Report a job under a revision that follows the last one, if there is one."""
    (job,) = (
        each
        for each in house.ledger.jobs.lease("w/", 9, lease_seconds=60, maximum_attempts=3)
        if each.id == job_id
    )
    before = house.ledger.queries.revisions(job)
    uid = f"2.25.{len(house.outbox()) + 1}"
    revision = Revision(
        job_id=job.id,
        sop_class_uid=SR.sop_class_uid,
        sop_instance_uid=uid,
        series_instance_uid="2.25.9",
        predecessor=before[-1].id if before else None,
        dated_at=7.25,
    )
    output = OutputRecord(kind="sr", sop_class_uid=SR.sop_class_uid, sop_instance_uid=uid)
    house.spool.put_output(job_id, "sr", uid, uid.encode())
    house.ledger.jobs.report(job, CONCLUSION, [output], to(destinations), revision=revision)


def fill(house: Workspace) -> dict[str, str]:
    """Make jobs in every state, and one row of everything else; return the jobs by a name."""
    ledger, jobs = house.ledger, {}
    jobs["purged"] = house.receive(make_cr(rows=8, columns=8))
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.not_analysed(job, Reason.VIEW)
    for job_id in purge_finished(ledger):
        house.spool.discard(job_id)
    first = make_cr(rows=8, columns=8)
    for name in ("delivered", "stored", "pending", "corrected", "parked", "dismissed"):
        jobs[name] = house.receive(make_cr(rows=8, columns=8) if name != "corrected" else first)
        report(house, jobs[name], "pacs")
        if name in {"delivered", "stored"}:
            (delivery,) = ledger.deliveries.lease("pacs", "d/", 1, lease_seconds=60)
            sent = Reference(delivery.sop_class_uid, delivery.sop_instance_uid)
            if name == "stored":
                ledger.deliveries.stored(delivery, status=0, sent=sent)
            else:
                ledger.deliveries.delivered(delivery, status=0)
        elif name in {"parked", "dismissed"}:
            for each in ledger.deliveries.lease("pacs", "d/", 9, lease_seconds=60):
                if each.job_id == jobs[name]:
                    ledger.deliveries.park(each, Reason.DESTINATION_REFUSED)
            ledger.release("d/")
    ledger.jobs.dismiss(jobs["dismissed"], "It is not needed.")
    ledger.jobs.reanalyse(jobs["delivered"])
    report(house, jobs["delivered"], "pacs")
    second = make_cr(rows=8, columns=8)
    for uid in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(second, uid, getattr(first, uid))
    second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    second.PatientName = "Müller^Käthe"
    jobs["leased"] = house.receive(second)
    ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    jobs["received"] = house.receive(make_cr(rows=8, columns=8))
    ledger.commitment_requests.receive("MODALITY", "1.2.3", [Reference("1.2.4", "1.2.5")])
    ledger.users.add("ann", Role.ADMIN, "scrypt$x")
    uid = ledger.queries.outputs(jobs["stored"])[0].sop_instance_uid
    ledger.verdicts.record(jobs["stored"], report_uid=uid, user="ann", opinion=Opinion.AGREE)
    record_command(ledger, Action.EXPORT, what="verdicts")
    return jobs


def rows(ledger: Ledger) -> dict[str, list[Cells]]:
    """Return the rows of every table that a backup has."""
    found: dict[str, list[Cells]] = {}
    with ledger.transfer.snapshot() as snapshot:
        for table, cells in snapshot.rows():
            found.setdefault(table, []).append(cells)
    return found


def files(settings: Settings) -> dict[str, bytes]:
    spool = Spool(settings.spool_dir)
    return {str(path.relative_to(spool.root)): path.read_bytes() for path in spool.files()}


@pytest.mark.postgresql
def test_everything_is_back_on_either_database_and_work_goes_on(
    kinds: list[str], place: Place, tmp_path: Path
) -> None:
    here, there = place("here", kinds[0]), place("there", kinds[1])
    house = work(here)
    jobs = fill(house)
    before = rows(house.ledger)
    done = back_up(here, tmp_path / "backup")
    assert done.manifest.missing == 0
    house.ledger.close()
    assert restore(there, tmp_path / "backup") == verify(tmp_path / "backup") == done.manifest
    other = work(there)
    after = rows(other.ledger)
    assert files(there).items() <= files(here).items()
    assert len(files(here)) - len(files(there)) == 1, "an output that a revision replaced"
    assert not (there.state_dir / RESTORING).exists()
    leased = {"holder", "due_at"}
    for table in before:
        kept = after[table][: len(before[table])] if table in {"events", "audit"} else after[table]
        strip = leased if table in {"jobs", "deliveries", "requests", "audit_exports"} else set()
        assert [{k: v for k, v in row.items() if k not in strip} for row in kept] == [
            {k: v for k, v in row.items() if k not in strip} for row in before[table]
        ] or table == "tallies", table
    assert {row["holder"] for row in after["jobs"] + after["deliveries"]} == {None}
    assert [row["action"] for row in after["audit"]][-1] == "restore"
    assert len([row for row in after["jobs"] if row["corrects"]]) == 1
    assert len([row for row in after["revisions"] if row["follows"]]) == 1
    counts = other.ledger.queries.job_counts()
    assert (counts.balance, counts.received) == (0, len(jobs))
    other.clock.now = time.time() + 1
    due = other.ledger.queries.due()
    assert (due.infer, due.deliver, due.commit) == (2, {"pacs": 3}, {"pacs": 1})
    for each in other.ledger.deliveries.lease("pacs", "d/", 9, lease_seconds=60):
        other.ledger.deliveries.delivered(each, status=0)
    for name in ("leased", "received"):
        (job,) = other.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
        assert job.id in jobs.values(), name
        other.ledger.jobs.not_analysed(job, Reason.VIEW)
    new = other.receive(make_cr(rows=8, columns=8))
    report(other, new, "pacs")
    assert other.ledger.queries.job_counts().balance == 0
    other.ledger.close()


@pytest.mark.postgresql
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_while_others_write_is_of_one_moment(
    kind: str, place: Place, tmp_path: Path
) -> None:
    here = place("here", kind)
    house = work(here)
    stopping = threading.Event()

    def receive() -> None:
        other = work(here)
        while not stopping.is_set():
            job_id = other.receive(make_cr(rows=8, columns=8))
            leased = other.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
            other.spool.put_output(job_id, "sr", "2.25.1", b"report")
            for job in leased:
                other.ledger.jobs.not_analysed(job, Reason.VIEW)
        other.ledger.close()

    writers = [threading.Thread(target=receive) for _ in range(2)]
    for writer in writers:
        writer.start()
    taken = []
    for _ in range(3):
        done = back_up(here, tmp_path / "backup")
        taken.append((done.manifest.files.lines, done.taken))
        assert verify(tmp_path / "backup") == done.manifest
        assert done.manifest.missing == 0
    stopping.set()
    for writer in writers:
        writer.join()
    house.ledger.close()
    assert [new for _, new in taken][1:] == [
        after - before for (before, _), (after, _) in pairwise(taken)
    ], "only what is new"
    there = place("there")
    restore(there, tmp_path / "backup")
    other = work(there)
    counts = other.ledger.queries.job_counts()
    assert (counts.balance, counts.received) == (0, taken[-1][0])
    assert all(other.spool.inbox(job.id).is_file() for job in other.ledger.queries.recent(9999))
    other.ledger.close()


def test_a_repeat_drops_what_retention_took_and_waits_for_no_other(
    place: Place, tmp_path: Path
) -> None:
    here = place("here")
    house = work(here)
    gone = house.receive(make_cr(rows=8, columns=8))
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    house.ledger.jobs.not_analysed(job, Reason.VIEW)
    stays = house.receive(make_cr(rows=8, columns=8))
    folder = tmp_path / "backup"
    assert back_up(here, folder).taken == 2
    purge_finished(house.ledger)
    house.spool.discard(gone)
    assert back_up(here, folder).taken == 0
    assert [each.path for each in read_entries(folder, verify(folder))] == [
        str(house.spool.inbox(stays).relative_to(house.spool.root))
    ]
    assert len(list(folder.rglob("*.dcm"))) == 1
    assert len(list(folder.glob("*.gz"))) == 2
    house.spool.discard(stays)
    assert back_up(here, folder).manifest.missing == 1, "as it is lost in the service"
    house.ledger.close()


def test_only_this_account_reads_a_backup_and_it_has_no_secret(
    place: Place, tmp_path: Path
) -> None:
    here = place("here", sign_in={"openid_client_secret": SECRET})
    house = work(here)
    fill(house)
    folder = tmp_path / "backup"
    folder.mkdir(mode=0o755)
    back_up(here, folder)
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_dir()}
    assert (folder.stat().st_mode & 0o777, modes) == (0o700, {0o700})
    for path in folder.glob("*.*"):
        assert path.stat().st_mode & 0o777 == 0o600
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert SECRET.encode() not in content
    house.ledger.close()


def kill_when(is_time: Callable[[], bool], task: Callable[[], object]) -> bool:
    """Run a task in a process and kill it once something is so; return whether it was killed."""
    child = os.fork()
    if not child:
        try:
            task()
        finally:
            os._exit(0)
    until = time.monotonic() + 30
    while not is_time() and time.monotonic() < until:
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("step", ["spool/inbox/??/*.dcm", "files-*.gz", "ledger-*.gz"])
def test_a_backup_that_was_killed_is_repeated(place: Place, tmp_path: Path, step: str) -> None:
    here = place("here")
    house = work(here)
    for _ in range(30):
        house.receive(make_cr(rows=8, columns=8))
    house.ledger.close()
    folder = tmp_path / "backup"
    kill_when(lambda: any(folder.glob(step)), lambda: back_up(here, folder))
    assert back_up(here, folder).manifest.files.lines == 30
    assert verify(folder).files.lines == 30
    assert len(list(folder.glob("*.gz"))) == 2
    assert not list(folder.rglob("*.new"))


@pytest.mark.postgresql
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restore_that_was_killed_lets_nothing_start_and_is_repeated(
    kind: str, place: Place, tmp_path: Path
) -> None:
    here, there = place("here"), place("there", kind)
    house = work(here)
    for _ in range(30):
        house.receive(make_cr(rows=8, columns=8))
    house.ledger.close()
    folder = tmp_path / "backup"
    back_up(here, folder)
    inbox = there.spool_dir / "inbox"
    assert kill_when(lambda: any(inbox.glob("??/*.dcm")), lambda: restore(there, folder))
    with pytest.raises(UnfinishedRestoreError, match="repeat"), open_ledger(there):
        pass  # pragma: no cover -- not reached
    restore(there, folder)
    with open_ledger(there) as ledger:
        assert ledger.queries.job_counts().received == 30
    with pytest.raises(BackupError, match="not empty"):
        restore(there, folder)


def damage(folder: Path, what: str) -> None:
    """Damage a backup in one way."""
    file = next(folder.rglob("*.dcm"))
    listing = next(folder.glob("files-*.gz"))
    if what == "a file that is gone":
        file.unlink()
    elif what == "a changed byte":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.unlink()  # else the spool's own file is changed as well
        file.write_bytes(content)
    elif what == "rows that are cut off":
        ledger = next(folder.glob("ledger-*.gz"))
        ledger.write_bytes(ledger.read_bytes()[:-20])
    elif what == "a listing that is gone":
        listing.unlink()
    elif what == "no manifest":
        (folder / MANIFEST).unlink()
    else:
        (folder / MANIFEST).write_text('{"format": 2}')


@pytest.mark.parametrize(
    "what",
    [
        *("a file that is gone", "a changed byte", "rows that are cut off"),
        *("a listing that is gone", "no manifest", "a manifest of another"),
    ],
)
def test_a_damaged_backup_is_named_and_changes_nothing(
    place: Place, tmp_path: Path, what: str
) -> None:
    here, there = place("here"), place("there")
    house = work(here)
    house.receive(make_cr(rows=8, columns=8))
    house.ledger.close()
    folder = tmp_path / "backup"
    back_up(here, folder)
    damage(folder, what)
    for use in (lambda: verify(folder), lambda: restore(there, folder)):
        with pytest.raises(BackupError) as raised:
            use()
        assert str(folder) in str(raised.value)
        assert "\n" not in str(raised.value)
    assert not there.state_dir.exists()


def test_a_path_out_of_the_spool_is_refused(place: Place, tmp_path: Path) -> None:
    here = place("here")
    house = work(here)
    house.receive(make_cr(rows=8, columns=8))
    house.ledger.close()
    folder = tmp_path / "backup"
    manifest = back_up(here, folder).manifest
    listing = folder / manifest.files.name
    line = gzip.decompress(listing.read_bytes()).replace(b'"inbox/', b'"../inbox/')
    listing.write_bytes(gzip.compress(line))
    with pytest.raises(BackupError, match="damaged"):
        list(read_entries(folder, manifest))


def test_what_is_not_empty_is_left_as_it_is(place: Place, tmp_path: Path) -> None:
    here, there = place("here"), place("there")
    house = work(here)
    folder, other = tmp_path / "backup", tmp_path / "other"
    back_up(here, folder)
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(BackupError, match="is no backup"):
        back_up(here, other)
    with pytest.raises(BackupError, match="in the state directory"):
        back_up(here, here.state_dir / "backup")
    there.state_dir.mkdir()
    (there.state_dir / "notes").write_text("x")
    with pytest.raises(BackupError, match="it has notes"):
        restore(there, folder)
    full = here.model_copy(update={"state_dir": tmp_path / "third"})
    full = full.model_copy(
        update={"ledger": full.ledger.model_copy(update={"url": here.ledger_url})}
    )
    house.receive(make_cr(rows=8, columns=8))
    with pytest.raises(BackupError, match="database is not empty"):
        restore(full, folder)
    with pytest.raises(BackupError, match="nothing to back up"):
        back_up(place("nowhere"), tmp_path / "empty")
    assert not (tmp_path / "empty").exists()
    house.ledger.close()


def test_a_backup_of_a_newer_version_is_refused(place: Place, tmp_path: Path) -> None:
    here, there = place("here"), place("there")
    house = work(here)
    house.ledger.close()
    folder = tmp_path / "backup"
    back_up(here, folder)
    text = (folder / MANIFEST).read_text()
    revision = read_manifest(folder).revision
    (folder / MANIFEST).write_text(text.replace(f'"revision": "{revision}"', '"revision": "9999"'))
    with pytest.raises(LedgerError, match="newer"):
        restore(there, folder)


def test_the_command_backs_up_verifies_and_restores(place: Place, tmp_path: Path) -> None:
    here = place("here")
    house = work(here)
    job_id = house.receive(make_cr(rows=8, columns=8))

    def lobar(state: str, *words: str) -> tuple[int, str, str]:
        environment = {
            **environment_without_settings(),
            "LOBAR_STATE_DIR": str(tmp_path / state),
        }
        done = run_module(tmp_path, "service.cli", *words, environment=environment)
        return done.returncode, done.stdout, done.stderr

    status, said, _ = lobar("here", "backup", "backup")
    assert (status, "1 files" in said, "1 of them new" in said) == (0, True, True)
    assert house.ledger.audit.recent(1)[0].action is Action.BACKUP
    status, said, _ = lobar("there", "restore", "backup", "--verify-only")
    assert (status, "are whole" in said, (tmp_path / "there").exists()) == (0, True, False)
    status, said, _ = lobar("there", "restore", "backup")
    assert (status, "restored" in said) == (0, True)
    status, _, error = lobar("there", "restore", "backup")
    assert (status, error.count("\n"), "not empty" in error) == (1, 1, True)
    other = work(place("there"))
    assert other.job(job_id).state is JobState.RECEIVED
    for each in (house, other):
        each.ledger.close()
