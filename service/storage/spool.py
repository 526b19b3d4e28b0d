"""Bytes that survive a power cut.

Everything is written aside, fsynced, renamed and its directory fsynced; a name that can be read is
therefore whole. Names are job ids of our own making, never text from the wire.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_OPAQUE: Final = re.compile(r"[0-9a-f]{32}")
_KIND: Final = re.compile(r"[a-z][a-z-]{0,31}")
_NAME_DIGITS: Final = 16
_SHARDS: Final = tuple(f"{n:02x}" for n in range(256))


class SpoolFullError(OSError):
    """The disk is at its reserve; nothing more is taken until it is freed."""


class Spool:
    """Two rooms on one disk: the inbox for received bytes, the outbox for what goes back."""

    def __init__(self, root: Path, *, reserve_bytes: int = 0) -> None:
        self.root = root
        self.incoming = root / "incoming"  # half-written; swept, never read
        self._inbox = root / "inbox"
        self._outbox = root / "outbox"
        self._reserve_bytes = reserve_bytes

    def prepare(self) -> None:
        """Create the rooms, readable by the service's account alone; safe to repeat.

        Raises:
            OSError: the state directory cannot be written.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.incoming.mkdir(exist_ok=True, mode=0o700)
        for room in (self._inbox, self._outbox):
            room.mkdir(exist_ok=True, mode=0o700)
            for shard in _SHARDS:
                (room / shard).mkdir(exist_ok=True)
            _fsync_directory(room)
        _fsync_directory(self.root)

    def free_bytes(self) -> int:
        """Tell how many bytes may still be written above the reserve; 0 when there is none."""
        return max(0, shutil.disk_usage(self.root).free - self._reserve_bytes)

    def require_room(self) -> None:
        """Refuse before writing when the disk is at its reserve.

        Raises:
            SpoolFullError: it is.
        """
        if self.free_bytes() == 0:
            raise SpoolFullError("the spool's disk is at its reserve")

    def accept(self, job_id: str, arrived: Path) -> Path:
        """Make a file that arrived in `incoming` durable in the inbox and give its new path.

        Raises:
            OSError: it could not be made durable; nothing is kept under the job's name.
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
        """Say where a job's received bytes lie, whether or not they do."""
        return self._inbox / _opaque(job_id)[:2] / f"{job_id}.dcm"

    def outbox(self, job_id: str, kind: str, sop_instance_uid: str) -> Path:
        """Say where an output of a job lies, whether or not it does.

        Outputs of one kind and different names lie side by side: a worker that was only slow must
        not put another model's bytes where those of the ledger are looked for.
        """
        if not _KIND.fullmatch(kind):
            raise ValueError("not a kind of output")
        name = hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:_NAME_DIGITS]
        return self._outbox / _opaque(job_id)[:2] / f"{job_id}.{kind}.{name}.dcm"

    def put_output(self, job_id: str, kind: str, sop_instance_uid: str, encoded: bytes) -> Path:
        """Make an output durable in the outbox; a repeat replaces it whole.

        Raises:
            OSError: it could not be written; an earlier one, if any, is untouched.
        """
        path = self.outbox(job_id, kind, sop_instance_uid)
        aside = self.incoming / f"{path.name}.{os.getpid()}"
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

    def discard(self, job_id: str) -> None:
        """Remove a job's received bytes and outputs; safe to repeat."""
        self.inbox(job_id).unlink(missing_ok=True)
        for output in (self._outbox / job_id[:2]).glob(f"{job_id}.*.dcm"):
            output.unlink(missing_ok=True)

    def sweep(self, is_known: Callable[[str], bool], *, older_than_seconds: float) -> int:
        """Remove what nobody was promised: half-written files and bytes without a job.

        A crash between spool and commit leaves such bytes; their sender got no Success and still
        has them. Gives the number of files removed.
        """
        before = time.time() - older_than_seconds
        removed = 0
        for path in (*self.incoming.iterdir(), *self._inbox.glob("??/*.dcm")):
            try:
                orphaned = path.stat().st_mtime < before and (
                    path.parent == self.incoming or not is_known(path.stem)
                )
            except FileNotFoundError:  # taken by its writer in the meantime
                continue
            if orphaned:
                path.unlink(missing_ok=True)
                removed += 1
        return removed


def _opaque(job_id: str) -> str:
    if not _OPAQUE.fullmatch(job_id):
        raise ValueError("not a job id of ours")
    return job_id


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
