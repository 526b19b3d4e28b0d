"""Mount a losing disk for a test, and read what was done on it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from support.system.programs import need_program

from peers.losing_disk.cut import Tree
from peers.losing_disk.model import MARK, Operation

_TESTS: Final = Path(__file__).resolve().parents[2]
_START_SECONDS: Final = 120  # for a loaded machine
_REFUSALS: Final = ("Operation not permitted", "Permission denied")


@dataclass(frozen=True)
class LosingDisk:
    """A mounted disk."""

    folder: Path
    _record: Path

    def mark(self, text: str) -> None:
        """Record that something has happened by now, such as an answer to a sender."""
        os.setxattr(self.folder, MARK, text.encode())

    def put(self, tree: Tree) -> None:
        """Write what an earlier cut left, durably."""
        for path, data in sorted(tree.items()):
            if data is None:
                (self.folder / path[1:]).mkdir(mode=0o700)
            else:
                (self.folder / path[1:]).write_bytes(data)
        for path in ("/", *tree):
            descriptor = os.open(self.folder / path[1:], os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def operations(self) -> list[Operation]:
        """List what was done on the disk until now."""
        return [Operation.read(line) for line in self._record.read_text().splitlines()]


@contextmanager
def losing_disk(folder: Path) -> Iterator[LosingDisk]:
    """Mount a disk while the block runs; skip the test where this machine mounts no FUSE."""
    fusermount = need_program("fusermount3")
    if not Path("/dev/fuse").exists():
        pytest.skip("this machine has no /dev/fuse, so no power can be cut")
    mount_point, record = folder / "disk", folder / "record"
    mount_point.mkdir(parents=True)
    command = [sys.executable, "-m", "peers.losing_disk.server", str(mount_point), str(record)]
    server = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(_TESTS), "FUSE_LIBRARY_NAME": "fuse3"},  # noqa: TID251 -- of a peer
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _await_mount(server, mount_point)
        yield LosingDisk(mount_point, record)
    finally:
        subprocess.run([fusermount, "-u", "-z", mount_point], check=False, capture_output=True)
        server.terminate()
        server.communicate(timeout=_START_SECONDS)


def _await_mount(server: subprocess.Popen[str], mount_point: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not mount_point.is_mount():
        if server.poll() is not None:
            _, complaint = server.communicate()
            refused = [line for line in complaint.splitlines() if line.endswith(_REFUSALS)]
            if refused:
                pytest.skip(f"this account may not mount a FUSE file system here: {refused[0]}")
            pytest.fail(f"the losing disk did not start: {complaint}")
        assert time.monotonic() < deadline, "the losing disk did not start"
        time.sleep(0.02)
