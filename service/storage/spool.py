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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

_OPAQUE: Final = re.compile(r"[0-9a-f]{32}")
_KIND: Final = re.compile(r"[a-z][a-z-]{0,31}")
_NAME_DIGITS: Final = 16
_MARGIN: Final = 8  # the share of the reserve that must be free before receiving begins again
_SHARDS: Final = tuple(f"{n:02x}" for n in range(256))


class SpoolFullError(OSError):
    """The disk is at its reserve; nothing is accepted until space is freed."""


class Spool:
    """The inbox of received bytes and the outbox of outputs.

    The outbox may be a file system of its own: what is written to it never crosses to another.
    """

    def __init__(self, root: Path, *, reserve_bytes: int = 0) -> None:
        self.root = root
        self.incoming = root / "incoming"  # incomplete files; swept, never read
        self._inbox = root / "inbox"
        self._outbox = root / "outbox"
        self._incomplete = self._outbox / "incomplete"  # outputs; swept, never read
        self._reserve_bytes = reserve_bytes
        self._is_full = False
        self._judging = threading.Lock()

    def prepare(self) -> None:
        """Create the directories, readable by the service's account only; safe to repeat.

        Raises:
            OSError: The state directory cannot be written.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.incoming.mkdir(exist_ok=True, mode=0o700)
        for directory in (self._inbox, self._outbox):
            directory.mkdir(exist_ok=True, mode=0o700)
            for shard in _SHARDS:
                (directory / shard).mkdir(exist_ok=True)
            _fsync_directory(directory)
        self._incomplete.mkdir(exist_ok=True)
        _fsync_directory(self.root)

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

    def accept(self, job_id: str, arrived: Path) -> Path:
        """Move a file from `incoming` to the inbox, durably, and return its new path.

        Raises:
            OSError: It could not be made durable; no file is left under the job's name.
        """
        kept = self.inbox(job_id)
        try:
            with arrived.open("rb") as stream:
                os.fsync(stream.fileno())
            arrived.rename(kept)
            _fsync_directory(kept.parent)
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
        aside = self._incomplete / f"{path.name}.{os.getpid()}.{threading.get_ident()}"
        try:
            with aside.open("wb") as stream:
                stream.write(encoded)
                stream.flush()
                os.fsync(stream.fileno())
            aside.rename(path)
            _fsync_directory(path.parent)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        return path

    def discard(self, job_id: str) -> int:
        """Remove a job's received bytes and outputs; safe to repeat.

        Returns:
            The bytes that they had.
        """
        outputs = (self._outbox / _opaque(job_id)[:2]).glob(f"{job_id}.*.dcm")
        freed = 0
        for path in (self.inbox(job_id), *outputs):
            freed += _size_bytes(path)
            path.unlink(missing_ok=True)
        return freed

    def sweep(self, is_known: Callable[[str], bool], *, older_than_seconds: float) -> int:
        """Remove incomplete files, and received bytes without a job.

        A crash between the spool and the ledger's commit leaves such bytes; their sender received
        no Success and still has them.

        Args:
            is_known: Returns whether the ledger has a job of this id.
            older_than_seconds: Only files last modified so long ago.

        Returns:
            The number of files removed.
        """
        before = time.time() - older_than_seconds
        removed = 0
        incomplete = (self.incoming, self._incomplete)
        candidates = [path for folder in incomplete for path in folder.iterdir()]
        for path in (*candidates, *self._inbox.glob("??/*.dcm")):
            try:
                orphaned = path.stat().st_mtime < before and (
                    path.parent in incomplete or not is_known(path.stem)
                )
            except FileNotFoundError:  # renamed by its writer in the meantime
                continue
            if orphaned:
                path.unlink(missing_ok=True)
                removed += 1
        return removed


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


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
