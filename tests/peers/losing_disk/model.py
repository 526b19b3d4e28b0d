"""The files and directories of a losing disk: as programs see them, and as far as they are durable.

Durable is what fsync made so: the bytes and the size of a file by fsync of the file, the entries of
a directory (creations, removals, renames) by fsync of that directory (fsync(2)). A disk whose
metadata is ordered has a journal beside, as ext4 with data=ordered: any fsync commits every change
of every directory before it, and a cut keeps the changes up to some moment.
"""

import base64
import itertools
import json
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Final

ROOT: Final = 1
MARK: Final = "user.mark"
"""The extended attribute of the root that a test sets to record a mark."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on the disk, as it is recorded; `mark` changes nothing and is a test's own."""

    name: str
    path: str = ""
    to: str = ""  # of a rename
    node: int = 0  # of a file that is open
    offset: int = 0  # of a write; the size of a truncation
    data: bytes = b""

    def line(self) -> str:
        """Encode the operation as a line of JSON."""
        return json.dumps({**asdict(self), "data": base64.b64encode(self.data).decode()}) + "\n"

    @classmethod
    def read(cls, line: str) -> "Operation":
        """Read a line."""
        values = json.loads(line)
        return cls(**{**values, "data": base64.b64decode(values["data"])})


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of a file that are written and not fsynced."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A size of a file that is set and not fsynced."""

    size: int


@dataclass(slots=True)
class Node:
    """A file or a directory."""

    is_directory: bool
    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    unsynced: list[Write | Resize] = field(default_factory=list)
    entries: dict[str, int] = field(default_factory=dict)
    durable_entries: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one directory by one operation: names and what they now mean, None for nothing.

    A rename in one directory is one change. A rename to another directory is two of one operation.
    """

    operation: int
    directory: int
    names: dict[str, int | None]


class Disk:
    """The disk; operations are applied in order, by the server and by a later replay alike."""

    def __init__(self, *, ordered: bool = False) -> None:
        self.ordered = ordered
        self.nodes: dict[int, Node] = {ROOT: Node(is_directory=True)}
        self.changes: list[Change] = []  # not durable, oldest first
        self._numbers = itertools.count(ROOT + 1)
        self._operations = itertools.count()

    def find(self, path: str) -> int:
        """Return the number of the node at a path.

        Raises:
            KeyError: there is none.
        """
        number = ROOT
        for name in PurePosixPath(path).parts[1:]:
            number = self.nodes[number].entries[name]
        return number

    def apply(self, operation: Operation) -> int:
        """Apply an operation and return the number of the node that it is about."""
        path = operation.path
        match operation.name:
            case "create" | "mkdir":
                return self._make(path, is_directory=operation.name == "mkdir")
            case "write":
                self._write(operation.node, operation.offset, operation.data)
            case "truncate":
                self._resize(operation.node, operation.offset)
            case "unlink" | "rmdir":
                self._change({path: None})
            case "rename":
                self._change({path: None, operation.to: self.find(path)})
            case "fsync":
                self._fsync(operation.node)
            case "fsyncdir":
                self._fsync_directory(operation.node)
        return operation.node

    def _make(self, path: str, *, is_directory: bool) -> int:
        number = next(self._numbers)
        self.nodes[number] = Node(is_directory=is_directory)
        self._change({path: number})
        return number

    def _change(self, paths: dict[str, int | None]) -> None:
        operation = next(self._operations)
        by_directory: dict[int, dict[str, int | None]] = {}
        for path, number in paths.items():
            parent = self.find(str(PurePosixPath(path).parent))
            by_directory.setdefault(parent, {})[PurePosixPath(path).name] = number
        for directory, names in by_directory.items():
            rename(self.nodes[directory].entries, names)
            self.changes.append(Change(operation, directory, names))

    def _write(self, number: int, offset: int, data: bytes) -> None:
        node = self.nodes[number]
        put(node.data, offset, data)
        node.unsynced.append(Write(offset, data))

    def _resize(self, number: int, size: int) -> None:
        node = self.nodes[number]
        resize(node.data, size)
        node.unsynced.append(Resize(size))

    def _fsync(self, number: int) -> None:
        node = self.nodes[number]
        if node.unsynced:
            node.durable = bytes(node.data)
            node.unsynced.clear()
        if self.ordered:
            self._commit(self.changes)

    def _fsync_directory(self, number: int) -> None:
        own = [each for each in self.changes if each.directory == number]
        self._commit(self.changes if self.ordered else own)

    def _commit(self, changes: list[Change]) -> None:
        for each in changes:
            rename(self.nodes[each.directory].durable_entries, each.names)
        kept = {id(each) for each in changes}
        self.changes = [each for each in self.changes if id(each) not in kept]


def rename(entries: dict[str, int], names: dict[str, int | None]) -> None:
    """Change the entries of a directory."""
    for name, number in names.items():
        if number is None:
            entries.pop(name, None)
        else:
            entries[name] = number


def put(data: bytearray, offset: int, piece: bytes) -> None:
    """Write a piece, with zeros before it where it begins behind the end."""
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(piece)] = piece


def resize(data: bytearray, size: int) -> None:
    """Shorten or lengthen, with zeros."""
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))
