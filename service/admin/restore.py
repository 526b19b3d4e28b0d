"""Check a backup, and restore it into an empty state directory and an empty database."""

import shutil
from pathlib import Path
from typing import Any, Final

from service.admin.backup_folder import (
    SPOOL,
    BackupError,
    Manifest,
    copy_checked,
    read_entries,
    read_lines,
    read_manifest,
    sha256_of,
)
from service.audit.recording import record_command
from service.domain.audit import Action
from service.settings import Settings
from service.storage.directories import fsync_directory
from service.storage.ledger import Ledger
from service.storage.opening import RESTORING
from service.storage.spool import Spool

_NOT_OURS: Final = frozenset({"lost+found", RESTORING})


def verify(folder: Path) -> Manifest:
    """Read every file of a backup, and compare its size and digest.

    Raises:
        BackupError: Something is missing or damaged; the message names it.
    """
    manifest = read_manifest(folder)
    for listing in (manifest.ledger, manifest.files):
        path = folder / listing.name
        if not path.is_file():
            raise BackupError(f"{path} is missing.")
        if sha256_of(path) != listing.sha256:
            raise BackupError(f"{path} is damaged.")
    for _ in read_lines(folder, manifest.ledger):
        pass
    for entry in read_entries(folder, manifest):
        path = folder / SPOOL / entry.path
        if not path.is_file():
            raise BackupError(f"{path} is missing.")
        if path.stat().st_size != entry.size_bytes or sha256_of(path) != entry.sha256:
            raise BackupError(f"{path} is damaged.")
    return manifest


def restore(settings: Settings, folder: Path) -> Manifest:
    """Restore a backup: its files into the spool, its rows into the database of the settings.

    Leases end, so that work in flight goes on as soon as the service is started. Until the last
    step is done, no part of the service starts; one that was killed is begun again by a repeat.

    Raises:
        BackupError: The backup is damaged, or the state directory or the database is not empty.
        LedgerError: The database could not be written.
        OSError: A file could not be written.
    """
    manifest = verify(folder)
    state_dir = settings.state_dir.absolute()
    marker = state_dir / RESTORING
    _require_empty(state_dir)
    ledger = Ledger(settings.ledger_url)
    try:
        if not ledger.transfer.is_empty():
            raise BackupError("The database is not empty. Restore into an empty one.")
        state_dir.chmod(0o700)
        marker.touch(mode=0o600)
        fsync_directory(state_dir)
        _restore_files(settings, folder, manifest)
        ledger.transfer.fill(
            manifest.revision, (_row(each) for each in read_lines(folder, manifest.ledger))
        )
        ledger.release("")  # of every process: they are of another machine or moment
        record_command(
            ledger, Action.RESTORE, files=manifest.files.lines, rows=manifest.ledger.lines
        )
    finally:
        ledger.close()
    marker.unlink()
    fsync_directory(state_dir)
    return manifest


def _require_empty(state_dir: Path) -> None:
    """Make the state directory; remove what a restore left that was killed.

    Raises:
        BackupError: It is not empty.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (state_dir / RESTORING).exists():
        shutil.rmtree(state_dir / "spool", ignore_errors=True)
        for path in state_dir.glob("ledger.sqlite3*"):
            path.unlink()
    others = sorted(each.name for each in state_dir.iterdir() if each.name not in _NOT_OURS)
    if others:
        raise BackupError(f"{state_dir} is not empty: it has {others[0]}. Restore into another.")


def _restore_files(settings: Settings, folder: Path, manifest: Manifest) -> None:
    spool = Spool(settings.spool_dir)
    spool.prepare()
    parents = set()
    for entry in read_entries(folder, manifest):
        target = spool.root / entry.path
        copy_checked(folder / SPOOL / entry.path, target, entry)
        parents.add(target.parent)
    for directory in parents:
        fsync_directory(directory)


def _row(line: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 -- a line of the backup
    match line:
        case [str(table), dict(cells)]:
            return table, cells
    raise BackupError("A row of the backup is not one.")
