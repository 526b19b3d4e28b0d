"""Directories that survive a power cut: a new entry is durable once its directory is fsynced."""

import contextlib
import os
from pathlib import Path


def fsync_directory(directory: Path) -> None:
    """Make the entries of a directory durable: what was created, renamed or removed in it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path, *, mode: int = 0o777) -> None:
    """Create a directory and its missing parents, durably; safe to repeat.

    The entries of those that are there already are made durable too, as far as this account may
    read their directories: a process that ended before its fsync may have created them.

    Args:
        directory: An absolute path.
        mode: The mode of the directory itself; its parents get the usual one.

    Raises:
        OSError: It cannot be created.
    """
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(exist_ok=True, mode=mode)
    created = {each.parent for each in missing}
    for parent in reversed(directory.parents):
        with contextlib.suppress(*(() if parent in created else (OSError,))):
            fsync_directory(parent)
