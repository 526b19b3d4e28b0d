"""A file system of a few KiB or MiB, which a test can fill to the last byte."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.system.programs import missing


class SmallDisk:
    """A mounted file system that can be filled, and freed again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def free_bytes(self) -> int:
        """Return how many bytes are left."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize

    def fill(self, *, but: int = 0) -> None:
        """Fill the disk, except for so many bytes."""
        with self._filler.open("ab") as filler:
            filler.write(bytes(max(0, self.free_bytes() - but)))

    def make_room(self) -> None:
        """Undo `fill`."""
        self._filler.unlink()


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mount a small tmpfs on a folder; as root, or through sudo where that asks for no password.

    Elsewhere the test is skipped, or fails when CI=true: a folder of another disk is no stand-in,
    because it cannot be filled without harm to others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    become_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size={size_bytes},mode=700,uid={os.geteuid()}"
    mount = [*become_root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:  # sudo
        mounted = False
    if not mounted:
        missing("this machine does not let this account mount a small disk")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run([*become_root, "umount", "--lazy", folder], check=True)
