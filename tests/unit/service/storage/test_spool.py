import os
import stat
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.storage.spool import Spool, SpoolFullError

UID = "2.25.1"
JOB = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32


@pytest.fixture(scope="module")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Spool:
    made = Spool(tmp_path_factory.mktemp("state") / "spool")
    made.prepare()
    return made


@pytest.fixture
def spool(_prepared: Spool) -> Iterator[Spool]:
    """An empty spool; made once, since its 512 folders take a slow disk a while."""
    yield _prepared
    for path in files_of(_prepared):
        path.unlink()


def arrived(spool: Spool, content: bytes = b"bytes") -> Path:
    path = spool.incoming / "arrived"
    path.write_bytes(content)
    return path


def grow_old(path: Path) -> None:
    os.utime(path, (1, 1))


def files_of(spool: Spool) -> list[Path]:
    return [path for path in spool.root.rglob("*") if path.is_file()]


def test_preparing_twice_keeps_what_is_there(spool: Spool) -> None:
    kept = spool.accept(JOB, arrived(spool))
    spool.prepare()
    assert kept.read_bytes() == b"bytes"


def test_the_directories_are_closed_to_other_accounts(spool: Spool) -> None:
    for directory in (spool.root, spool.incoming, spool.root / "inbox", spool.root / "outbox"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_what_is_accepted_moves_to_the_inbox(spool: Spool) -> None:
    path = arrived(spool)
    kept = spool.accept(JOB, path)
    assert kept == spool.inbox(JOB)
    assert kept.read_bytes() == b"bytes"
    assert not path.exists()


def test_bytes_are_on_the_disk_before_they_have_a_name_and_the_name_before_it_is_given(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = arrived(spool)
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noting_fsync(descriptor: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        fsync(descriptor)

    def noting_rename(source: Path, target: Path) -> None:
        done.append(f"rename {target}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "rename", noting_rename)
    kept = spool.accept(JOB, path)
    assert done == [f"fsync {path}", f"rename {kept}", f"fsync {kept.parent}"]


def test_what_cannot_be_made_durable_is_not_kept(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = arrived(spool)
    fsync = os.fsync

    def broken_for_directories(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", broken_for_directories)
    with pytest.raises(OSError, match="Input/output"):
        spool.accept(JOB, path)
    assert files_of(spool) == []


def test_an_output_replaces_an_earlier_one_whole(spool: Spool) -> None:
    spool.put_output(JOB, "report", UID, b"first and longer")
    path = spool.put_output(JOB, "report", UID, b"second")
    assert path == spool.outbox(JOB, "report", UID)
    assert files_of(spool) == [path]
    assert path.read_bytes() == b"second"


def test_two_threads_may_write_the_same_output_at_once(spool: Spool) -> None:
    content = bytes(1 << 20)  # a job whose lease ran out may be concluded twice in one process
    with ThreadPoolExecutor(4) as threads:
        puts = [threads.submit(spool.put_output, JOB, "report", UID, content) for _ in range(40)]
        paths = {each.result() for each in puts}
    assert [path.read_bytes() == content for path in paths] == [True]
    assert list((spool.root / "outbox" / "incomplete").iterdir()) == []


def test_an_output_that_cannot_be_made_durable_leaves_the_earlier_one(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spool.put_output(JOB, "report", UID, b"first")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        spool.put_output(JOB, "report", UID, b"second")
    assert files_of(spool) == [path]
    assert path.read_bytes() == b"first"


def test_discarding_removes_all_of_one_job_and_nothing_of_another(spool: Spool) -> None:
    for job in (JOB, OTHER):
        spool.accept(job, arrived(spool))
        spool.put_output(job, "report", UID, b"r")
        spool.put_output(job, "overlay", UID, b"o")
    spool.discard(JOB)
    spool.discard(JOB)
    assert {path.name.partition(".")[0] for path in files_of(spool)} == {OTHER}
    assert len(files_of(spool)) == 3


@pytest.mark.parametrize(
    "wire_text", ["", "../../etc/passwd", JOB.upper(), JOB[:-1], f"{JOB}/x", f"{JOB}\n"]
)
def test_only_generated_job_ids_become_names(spool: Spool, wire_text: str) -> None:
    with pytest.raises(ValueError, match="not a job id"):
        spool.inbox(wire_text)
    with pytest.raises(ValueError, match="not a job id"):
        spool.outbox(wire_text, "report", UID)
    with pytest.raises(ValueError, match="not a job id"):
        spool.discard(wire_text)


@pytest.mark.parametrize("kind", ["", "../report", "Report", "report.dcm", "r" * 33])
def test_only_known_forms_of_kind_become_names(spool: Spool, kind: str) -> None:
    with pytest.raises(ValueError, match="not a kind"):
        spool.outbox(JOB, kind, UID)


def test_below_the_reserve_there_is_no_room(spool: Spool) -> None:
    spool.require_room()
    free = spool.free_bytes()
    full = Spool(spool.root, reserve_bytes=2 * free)
    assert free > 0
    assert full.free_bytes() == 0
    with pytest.raises(SpoolFullError):
        full.require_room()


def test_sweeping_removes_what_is_old_and_not_acknowledged(spool: Spool) -> None:
    grow_old(arrived(spool))
    orphan = spool.accept(OTHER, arrived(spool))
    promised = spool.accept(JOB, arrived(spool))
    grow_old(orphan)
    grow_old(promised)
    assert spool.sweep(lambda ids: set(ids) & {JOB}, older_than_seconds=60) == 1
    assert files_of(spool) == [promised]


def test_sweeping_leaves_what_may_still_be_under_way(spool: Spool) -> None:
    half_written = arrived(spool)
    between_spool_and_ledger = spool.accept(OTHER, arrived(spool))
    half_written.write_bytes(b"half")
    assert spool.sweep(lambda _ids: set(), older_than_seconds=60) == 0
    assert set(files_of(spool)) == {half_written, between_spool_and_ledger}


def test_an_output_is_completed_on_the_file_system_of_the_outbox(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename
    moved: list[Path] = []

    def noting_rename(source: Path, target: Path) -> None:
        moved.extend((source, target))
        rename(source, target)

    monkeypatch.setattr(os, "rename", noting_rename)
    spool.put_output(JOB, "report", UID, b"r")
    assert [path.relative_to(spool.root).parts[0] for path in moved] == ["outbox", "outbox"]


def test_sweeping_removes_an_output_that_was_never_completed(spool: Spool) -> None:
    half_written = spool.root / "outbox" / "incomplete" / f"{JOB}.sr.0.dcm.1"
    half_written.write_bytes(b"half")
    assert spool.sweep(set, older_than_seconds=60) == 0
    grow_old(half_written)
    assert spool.sweep(set, older_than_seconds=60) == 1
    assert files_of(spool) == []


def test_sweeping_asks_once_a_folder_and_looks_at_no_file_that_has_a_job(spool: Spool) -> None:
    ids = [f"{n:02x}{m:030x}" for n in range(3) for m in range(4)]
    kept = [spool.accept(job_id, arrived(spool)) for job_id in ids]
    for path in kept:
        grow_old(path)
    asked: list[set[str]] = []

    def known(some: Collection[str]) -> set[str]:
        asked.append(set(some))
        return set(some) - {ids[0]}

    assert spool.sweep(known, older_than_seconds=60) == 1
    assert sorted(map(len, asked)) == [4, 4, 4]
    assert set().union(*asked) == set(ids)
    assert set(files_of(spool)) == set(kept[1:])
