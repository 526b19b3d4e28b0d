"""Listen on a Unix socket in a folder, whose path may be longer than an address can be."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_QUEUED = 64


@contextmanager
def listening_on(path: Path, *, for_group: bool) -> Iterator[socket.socket]:
    """Listen on a socket that only this account may use, and its group if that is said.

    It takes the place of a socket that an ended process left. After the block it is removed, unless
    another process has taken its place meanwhile.

    Raises:
        OSError: it cannot be made.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        ours = _bind(listening, path, 0o660 if for_group else 0o600)
        yield listening
        with suppress(FileNotFoundError):
            if _identity(path.stat()) == ours:
                path.unlink()
    finally:
        listening.close()


def _bind(listening: socket.socket, path: Path, mode: int) -> tuple[int, int]:
    """Bind under another name, then rename: nobody finds it with other rights, or not listening."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    aside = f".{path.name}.{uuid.uuid4().hex[:8]}"
    try:
        # through /proc, as an address has 108 bytes at most (unix(7))
        listening.bind(f"/proc/self/fd/{folder}/{aside}")
        os.chmod(aside, mode, dir_fd=folder)
        listening.listen(_QUEUED)
        os.rename(aside, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        return _identity(os.stat(path.name, dir_fd=folder))
    except OSError:
        with suppress(OSError):
            os.unlink(aside, dir_fd=folder)
        raise
    finally:
        os.close(folder)


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Return what tells one file from a later one, which may get the same inode number."""
    return status.st_ino, status.st_mtime_ns
