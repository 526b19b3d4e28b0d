"""The spool: files that survive a power cut.

Every file is written under a temporary name, fsynced and renamed, and its directory is fsynced; a
file with its final name is therefore complete. Names are generated job ids, never wire text.
"""

import hashlib
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import structlog

from service.crash_points import CrashPoint, passed
from service.storage.directories import fsync_directory, make_directory

log = structlog.get_logger()

_OPAQUE: Final = re.compile(r"[0-9a-f]{32}")
_KIND: Final = re.compile(r"[a-z][a-z-]{0,31}")
_NAME_DIGITS: Final = 16
_SUFFIX: Final = ".dcm"
_MARGIN: Final = 8  # the share of the reserve that must be free before receiving begins again
_SHARDS: Final = tuple(f"{n:02x}" for n in range(256))


class SpoolFullError(OSError):
    """The disk is at its reserve; nothing is accepted until space is freed."""


class _Suspect(NamedTuple):
    changed: int  # time of its last modification, compared with itself alone
    seen_at: float  # when a sweep first saw it so


class Spool:
    """The inbox of received bytes and the outbox of outputs.

    The outbox may be a file system of its own: what is written to it never crosses to another.
    """

    def __init__(
        self, root: Path, *, reserve_bytes: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Name the directories; nothing is created yet.

        Args:
            root: The spool's directory.
            reserve_bytes: What must stay free on its disk.
            clock: Seconds of a clock that is never set, by which files are orphaned.
        """
        self.root = root
        self.incoming = root / "incoming"  # incomplete files; swept, never read
        self._inbox = root / "inbox"
        self._outbox = root / "outbox"
        self._incomplete = self._outbox / "incomplete"  # outputs; swept, never read
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._suspects: dict[Path, _Suspect] = {}  # that the sweep before saw
        self._is_full = False
        self._judging = threading.Lock()

    def prepare(self) -> None:
        """Create the directories, readable by the service's account only; safe to repeat.

        Raises:
            OSError: The state directory cannot be written.
        """
        make_directory(self.root.absolute(), mode=0o700)
        self.incoming.mkdir(exist_ok=True, mode=0o700)
        for directory in (self._inbox, self._outbox):
            directory.mkdir(exist_ok=True, mode=0o700)
            for shard in _SHARDS:
                (directory / shard).mkdir(exist_ok=True)
        self._incomplete.mkdir(exist_ok=True)
        for directory in (self._inbox, self._outbox, self.root):
            fsync_directory(directory)

    def free_bytes(self) -> int:
        """Return how many bytes can still be written above the reserve."""
        return max(0, shutil.disk_usage(self.root).free - self._reserve_bytes)

    def has_room(self) -> bool:
        """Return whether instances may be received.

        Not from the reserve on until an eighth more is free, so that receiving does not begin and
        end with every file that comes or goes. What was received is reported and delivered in any
        case: outputs may use the reserve.
        """
        free = self.free_bytes()
        needed = self._reserve_bytes // _MARGIN if self._is_full else 0
        with self._judging:
            was_full, self._is_full = self._is_full, free <= needed
            if self._is_full and not was_full:
                log.warning("spool_at_reserve", free_bytes=free)
            elif was_full and not self._is_full:
                log.info("spool_has_room", free_bytes=free)
            return not self._is_full

    def require_room(self) -> None:
        """Require that the disk is above its reserve.

        Raises:
            SpoolFullError: The disk is at its reserve.
        """
        if not self.has_room():
            raise SpoolFullError("the spool's disk is at its reserve")

    def used_bytes(self) -> int:
        """Return the bytes of all files in inbox and outbox."""
        return sum(_size_bytes(path) for path in self.files())

    def files(self) -> Iterator[Path]:
        """List the files of inbox and outbox, but no incomplete ones."""
        for directory in (self._inbox, self._outbox):
            for shard in _SHARDS:
                with os.scandir(directory / shard) as entries:
                    yield from (Path(each.path) for each in entries)

    def accept(self, job_id: str, arrived: Path, stream: BinaryIO | None = None) -> Path:
        """Move a file from `incoming` to the inbox, durably, and return its new path.

        Args:
            job_id: Whose it is.
            arrived: The file.
            stream: The file, where it is open and flushed.

        Raises:
            OSError: It could not be made durable; no file is left under the job's name.
        """
        kept = self.inbox(job_id)
        try:
            with arrived.open("rb") if stream is None else nullcontext(stream) as file:
                os.fsync(file.fileno())
            passed(CrashPoint.RECEIVE_SYNCED)
            os.rename(arrived, kept)  # noqa: PTH104 -- `Path.rename` makes another path of it
            passed(CrashPoint.RECEIVE_RENAMED)
            fsync_directory(kept.parent)
        except OSError:
            arrived.unlink(missing_ok=True)
            kept.unlink(missing_ok=True)
            raise
        return kept

    def inbox(self, job_id: str) -> Path:
        """Return the path of a job's received bytes; the file need not exist."""
        return self._inbox / _opaque(job_id)[:2] / f"{job_id}.dcm"

    def outbox(self, job_id: str, kind: str, sop_instance_uid: str) -> Path:
        """Return the path of an output of a job; the file need not exist.

        The path depends on the SOP Instance UID, so that a slow worker with another model does not
        overwrite the output that the ledger refers to.
        """
        if not _KIND.fullmatch(kind):
            raise ValueError("not a kind of output")
        name = hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:_NAME_DIGITS]
        return self._outbox / _opaque(job_id)[:2] / f"{job_id}.{kind}.{name}.dcm"

    def put_output(self, job_id: str, kind: str, sop_instance_uid: str, encoded: bytes) -> Path:
        """Write an output to the outbox, durably; a repeat replaces the file.

        Raises:
            OSError: It could not be written; an earlier file is unchanged.
        """
        path = self.outbox(job_id, kind, sop_instance_uid)
        aside = self._incomplete / f"{path.name}.{uuid.uuid4().hex}"  # nodes may share process ids
        try:
            with aside.open("wb") as stream:
                stream.write(encoded)
                stream.flush()
                os.fsync(stream.fileno())
            passed(CrashPoint.REPORT_SYNCED)
            aside.rename(path)
            passed(CrashPoint.REPORT_RENAMED)
            fsync_directory(path.parent)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        return path

    def discard(self, job_id: str) -> int:
        """Remove a job's received bytes and outputs, durably; safe to repeat.

        After a power cut they would come back, and a job without bytes is not looked at again.

        Returns:
            The bytes that they had.
        """
        outputs = (self._outbox / _opaque(job_id)[:2]).glob(f"{job_id}.*.dcm")
        removed = [path for path in (self.inbox(job_id), *outputs) if path.exists()]
        freed = sum(map(_size_bytes, removed))
        for path in removed:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in removed}:
            fsync_directory(folder)
        return freed

    def sweep(
        self, known: Callable[[Collection[str]], Collection[str]], *, older_than_seconds: float
    ) -> int:
        """Remove incomplete files, and received bytes without a job.

        A crash between the spool and the ledger's commit leaves such bytes; their sender received
        no Success and still has them. A file is removed once it has been so, and unchanged, for
        `older_than_seconds` since a sweep first saw it: its own time is the wall clock's, which
        may have been set while it was written.

        Args:
            known: Returns those of some ids of which the ledger has a job; asked once a folder.
            older_than_seconds: How long a file must have been seen so.

        Returns:
            The number of files removed.
        """
        now, removed = self._clock(), 0
        suspects: dict[Path, _Suspect] = {}
        for path in self._without_a_job(known):
            suspect = self._seen(path, now)
            if suspect is None:
                continue
            if now - suspect.seen_at >= older_than_seconds:
                path.unlink(missing_ok=True)
                removed += 1
            else:
                suspects[path] = suspect
        self._suspects = suspects
        return removed

    def _without_a_job(self, known: Callable[[Collection[str]], Collection[str]]) -> Iterator[Path]:
        """List the incomplete files, and the received bytes of which the ledger has no job."""
        for folder in (self.incoming, self._incomplete):
            yield from (folder / name for name in _names(folder))
        for shard in _SHARDS:
            folder = self._inbox / shard
            ids = {name[: -len(_SUFFIX)] for name in _names(folder) if name.endswith(_SUFFIX)}
            orphans = ids.difference(known(ids)) if ids else ()
            yield from (folder / f"{each}{_SUFFIX}" for each in orphans)

    def _seen(self, path: Path, now: float) -> _Suspect | None:
        """Return since when a file is as it is now; None if it is gone."""
        try:
            changed = path.stat().st_mtime_ns
        except FileNotFoundError:  # renamed by its writer in the meantime
            return None
        suspect = self._suspects.get(path)
        return suspect if suspect and suspect.changed == changed else _Suspect(changed, now)


def job_of_output(path: Path) -> str:
    """Return the id of the job that a file of the outbox belongs to.

    Raises:
        ValueError: the file has no name of the outbox.
    """
    return _opaque(path.name.split(".", 1)[0])


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _size_bytes(path: Path) -> int:
    """Return the size of a file; 0 where it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _opaque(job_id: str) -> str:
    if not _OPAQUE.fullmatch(job_id):
        raise ValueError("not a job id")
    return job_id
