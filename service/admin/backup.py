"""Back up ledger and spool while the service runs, whole or on top of an earlier backup."""

import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from service.admin.backup_folder import (
    FORMAT,
    MANIFEST,
    SPOOL,
    BackupError,
    Entry,
    Listing,
    Manifest,
    is_path,
    read_entries,
    read_manifest,
    sha256_of,
    take,
    write_lines,
    write_manifest,
)
from service.audit.recording import record_command
from service.dicom.implementation import VERSION
from service.domain.audit import Action
from service.settings import Settings
from service.storage.directories import fsync_directory
from service.storage.ledger import Ledger
from service.storage.ledger.transfer import Snapshot, SpooledFile
from service.storage.retention import RetentionBusyError, held
from service.storage.spool import Spool

_WAIT_SECONDS: Final = 60.0
_KINDS: Final = ("inbox", "outbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What a backup holds, and how many of its files were new."""

    manifest: Manifest
    taken: int


def back_up(settings: Settings, folder: Path) -> BackedUp:
    """Write a backup to a folder: a new one, or one with an earlier backup of this service.

    The ledger is read as of one moment, and then the files that it refers to are taken; retention
    waits meanwhile. Settings are not part of it, and so none of their secrets.

    Raises:
        BackupError: The folder holds something else, there is no spool, or another backup is made.
        LedgerError: The ledger could not be read, or there is none.
        OSError: A file could not be read or written.
    """
    spool = Spool(settings.spool_dir)
    if not spool.root.is_dir() or not _has_ledger(settings):
        raise BackupError(f"There is nothing to back up in {settings.state_dir}.")
    if folder.resolve().is_relative_to(settings.state_dir.resolve()):
        raise BackupError(f"{folder} is in the state directory. Name another.")
    earlier = _prepare(folder)
    ledger = Ledger(settings.ledger_url)
    try:
        with held(spool, _WAIT_SECONDS):
            return _back_up(ledger, spool, folder, earlier)
    except RetentionBusyError:
        raise BackupError("Another backup of this spool is being made.") from None
    finally:
        ledger.close()


def _has_ledger(settings: Settings) -> bool:
    """Return whether there is a database file; opening SQLite would make one."""
    if not settings.ledger_url.startswith("sqlite:///"):
        return True
    return Path(settings.ledger_url.removeprefix("sqlite:///")).is_file()


def _prepare(folder: Path) -> dict[str, Entry]:
    """Make the folder, for this account alone; return the files of an earlier backup in it.

    Raises:
        BackupError: It holds something else.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = {each.name for each in folder.iterdir()}
    is_backup = any(name.startswith(("ledger-", MANIFEST)) for name in names)
    if names - {SPOOL, "lost+found"} and not is_backup:
        raise BackupError(f"{folder} is not empty, and is no backup.")
    folder.chmod(0o700)
    (folder / SPOOL).mkdir(mode=0o700, exist_ok=True)
    for kind in _KINDS:
        (folder / SPOOL / kind).mkdir(mode=0o700, exist_ok=True)
        for number in range(256):
            (folder / SPOOL / kind / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
    if MANIFEST not in names:
        return {}
    manifest = read_manifest(folder)
    return {each.path: each for each in read_entries(folder, manifest)}


def _back_up(ledger: Ledger, spool: Spool, folder: Path, earlier: dict[str, Entry]) -> BackedUp:
    number = uuid.uuid4().hex
    made_at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    with ledger.transfer.snapshot() as snapshot:
        rows = write_lines(folder, f"ledger-{number}.jsonl.gz", _lines(snapshot))
        named = [_path(spool, each) for each in snapshot.files()]
        revision = snapshot.revision
    found = [_take(spool, folder, path, earlier) for path in named]
    entries = [each for each in found if each is not None]
    for kind in _KINDS:
        for shard in (folder / SPOOL / kind).iterdir():
            fsync_directory(shard)
    files = write_lines(folder, f"files-{number}.jsonl.gz", (each.model_dump() for each in entries))
    manifest = Manifest(
        format=FORMAT,
        lobar=VERSION,
        revision=revision,
        made_at=made_at,
        ledger=rows,
        files=files,
        bytes=sum(each.size_bytes for each in entries),
        missing=len(found) - len(entries),
    )
    write_manifest(folder, manifest)
    _remove_others(folder, {each.path for each in entries}, (rows, files))
    _record(ledger, Action.BACKUP, manifest)
    return BackedUp(
        manifest=manifest, taken=sum(earlier.get(each.path) is not each for each in entries)
    )


def _lines(snapshot: Snapshot) -> Iterator[list[Any]]:
    for table, cells in snapshot.rows():
        yield [table, cells]


def _path(spool: Spool, file: SpooledFile) -> str:
    """Return the path of a file below the spool."""
    if file.kind is None:
        path = spool.inbox(file.job_id)
    else:
        path = spool.outbox(file.job_id, file.kind, file.sop_instance_uid)
    return str(path.relative_to(spool.root))


def _take(spool: Spool, folder: Path, path: str, earlier: dict[str, Entry]) -> Entry | None:
    """Put a file into the backup, unless it is there; None where the spool has lost it."""
    source, target = spool.root / path, folder / SPOOL / path
    try:
        found = source.stat()
        standing = earlier.get(path)
        if standing is not None and _is_same(standing, found) and target.is_file():
            return standing
        take(source, target)
    except FileNotFoundError:
        return None
    return Entry(
        path=path,
        size_bytes=found.st_size,
        sha256=sha256_of(target),
        modified_ns=found.st_mtime_ns,
    )


def _is_same(entry: Entry, found: os.stat_result) -> bool:
    return (entry.size_bytes, entry.modified_ns) == (found.st_size, found.st_mtime_ns)


def _remove_others(folder: Path, paths: set[str], listings: Iterable[Listing]) -> None:
    """Remove what only an earlier backup, or one that was killed, refers to."""
    kept = {each.name for each in listings}
    for path in folder.glob("*-*.jsonl.gz"):
        if path.name not in kept:
            path.unlink()
    for path in (folder / SPOOL).glob("*box/??/*"):
        name = str(path.relative_to(folder / SPOOL))
        if name not in paths and (is_path(name) or name.endswith(".new")):
            path.unlink()


def _record(ledger: Ledger, action: Action, manifest: Manifest) -> None:
    """Record that in the audit trail, where the ledger is of this version."""
    if ledger.is_current():
        record_command(ledger, action, files=manifest.files.lines, rows=manifest.ledger.lines)
