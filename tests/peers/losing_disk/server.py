"""Serve a losing disk by FUSE, and record every operation that changes or syncs something.

    python -m peers.losing_disk.server MOUNT_POINT RECORD

A process of its own: a program that maps a file of the disk waits in a page fault, in which Python
would not let another thread of it serve the page.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TextIO

import mfusepy

from peers.losing_disk.model import MARK, ROOT, Disk, Operation

_BLOCK: Final = 4096
_BLOCKS: Final = 1 << 22


class LosingDiskServer(mfusepy.Operations):
    """The operations of FUSE, one at a time.

    libfuse renames a file that is removed while it is open, and removes it when it is closed.
    """

    use_ns = True

    def __init__(self, record: TextIO) -> None:
        self._disk = Disk()
        self._record = record
        self._modes = {ROOT: stat.S_IFDIR | 0o755}
        self._times = {ROOT: time.time_ns()}

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        del fh
        number = self._number(path)
        node = self._disk.nodes[number]
        return {
            "st_mode": self._modes[number],
            "st_ino": number,
            "st_nlink": 2 if node.is_directory else 1,
            "st_size": len(node.data),
            "st_blocks": -(-len(node.data) // 512),
            "st_uid": os.geteuid(),
            "st_gid": os.getegid(),
            **dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), self._times[number]),
        }

    def readdir(self, path: str, fh: int) -> Iterable[str]:
        del path
        return [".", "..", *self._disk.nodes[fh].entries]

    def opendir(self, path: str) -> int:
        return self._number(path)

    def open(self, path: str, flags: int) -> int:
        del flags
        return self._number(path)

    def create(self, path: str, mode: int, fi: object = None) -> int:
        del fi
        return self._made(Operation("create", path), stat.S_IFREG | mode)

    def mkdir(self, path: str, mode: int) -> int:
        self._made(Operation("mkdir", path), stat.S_IFDIR | mode)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        del path
        return bytes(self._disk.nodes[fh].data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._do(Operation("write", path, node=fh, offset=offset, data=bytes(data)))
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        del fh
        number = self._number(path)
        self._do(Operation("truncate", path, node=number, offset=length))
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        del datasync  # fdatasync(2) keeps the size too
        self._do(Operation("fsync", path, node=fh))
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        del datasync
        self._do(Operation("fsyncdir", path, node=fh))
        return 0

    def unlink(self, path: str) -> int:
        self._do(Operation("unlink", path, node=self._number(path)))
        return 0

    def rmdir(self, path: str) -> int:
        number = self._number(path)
        if self._disk.nodes[number].entries:
            raise OSError(errno.ENOTEMPTY, "not empty")
        self._do(Operation("rmdir", path, node=number))
        return 0

    def rename(self, old: str, new: str) -> int:
        self._do(Operation("rename", old, to=new, node=self._number(old)))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        number = self._number(path)
        self._modes[number] = stat.S_IFMT(self._modes[number]) | mode
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        del path, uid, gid  # all is this account's
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._times[self._number(path)] = times[1] if times else time.time_ns()
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        del path
        return {
            **dict.fromkeys(("f_bsize", "f_frsize"), _BLOCK),
            **dict.fromkeys(("f_blocks", "f_bfree", "f_bavail"), _BLOCKS),
            "f_namemax": 255,
        }

    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> int:
        del path, options, position
        if name != MARK:
            raise OSError(errno.ENOTSUP, "only marks")
        self._do(Operation("mark", value.decode()))
        return 0

    def _number(self, path: str) -> int:
        try:
            return self._disk.find(path)
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such file") from None

    def _made(self, operation: Operation, mode: int) -> int:
        number = self._do(operation)
        self._modes[number] = mode
        self._times[number] = time.time_ns()
        return number

    def _do(self, operation: Operation) -> int:
        number = self._disk.apply(operation)
        if operation.name in {"write", "truncate"}:
            self._times[number] = time.time_ns()
        self._record.write(operation.line())
        self._record.flush()  # the record outlives this process, which may be killed
        return number


def main() -> None:
    mount_point, record = sys.argv[1:]
    with Path(record).open("w") as stream:
        mfusepy.FUSE(
            LosingDiskServer(stream),
            mount_point,
            foreground=True,
            nothreads=True,  # one operation after the other: the record has one order
            fsname="losing-disk",
        )


if __name__ == "__main__":
    main()
