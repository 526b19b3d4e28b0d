"""What is left of a losing disk after its power is cut: at any moment, by a seed."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from peers.losing_disk.model import (
    ROOT,
    Change,
    Disk,
    Node,
    Operation,
    Resize,
    Write,
    put,
    rename,
    resize,
)

SECTOR: Final = 512
ONLY_SYNCED: Final = None
"""The seed of the cut after which only what was fsynced is left."""
_KEPT: Final = (0.0, 0.5, 0.9, 1.0)  # shares of what was not fsynced; one is drawn for each thing

Tree = dict[str, bytes | None]  # by path; None is a directory


def replay(operations: Iterable[Operation], *, ordered: bool) -> Iterator[tuple[Operation, Disk]]:
    """Return the disk after each operation; it is the same object each time."""
    disk = Disk(ordered=ordered)
    for operation in operations:
        disk.apply(operation)
        yield operation, disk


def cut(disk: Disk, seed: int | None) -> Tree:
    """Return what is on the disk when the power is back. The disk itself is not changed.

    With a seed, a part of what was not fsynced is left as well, in any order: sectors of a file
    without those written before them, a size without its bytes, a rename without the creation of
    another file before it. On a disk with ordered metadata the changes of directories that are left
    are the oldest ones.
    """
    chance = random.Random(seed)
    kept = [] if seed is None else _kept_changes(disk, chance)
    entries = {number: dict(node.durable_entries) for number, node in disk.nodes.items()}
    for change in kept:
        rename(entries[change.directory], change.names)
    tree: Tree = {}
    pending = [("", ROOT)]
    while pending:
        folder, number = pending.pop()
        for name, each in sorted(entries[number].items()):
            node, path = disk.nodes[each], f"{folder}/{name}"
            if node.is_directory:
                tree[path] = None
                pending.append((path, each))
            else:
                tree[path] = node.durable if seed is None else _kept_bytes(node, chance)
    return tree


def digest(tree: Tree) -> bytes:
    """Return a digest by which equal trees are recognised."""
    found = hashlib.sha256()
    for path, data in sorted(tree.items()):
        found.update(f"{path}\n{'-' if data is None else len(data)}\n".encode())
        found.update(data or b"")
    return found.digest()


def lay_out(tree: Tree, folder: Path) -> Path:
    """Write a tree below a folder of an ordinary disk, where it is opened again."""
    folder.mkdir(parents=True)
    for path, data in sorted(tree.items()):
        if data is None:
            (folder / path[1:]).mkdir(mode=0o700)
        else:
            (folder / path[1:]).write_bytes(data)
    return folder


def _kept_changes(disk: Disk, chance: random.Random) -> list[Change]:
    if disk.ordered:
        moments = sorted({each.operation for each in disk.changes})
        until = chance.choice([-1, *moments])
        return [each for each in disk.changes if each.operation <= until]
    share = chance.choice(_KEPT)
    return [each for each in disk.changes if chance.random() < share]


def _kept_bytes(node: Node, chance: random.Random) -> bytes:
    if not node.unsynced:
        return node.durable
    share = chance.choice(_KEPT)
    left, sizes = bytearray(node.durable), [len(node.durable)]
    for each in node.unsynced:
        for piece in _pieces(each):
            if chance.random() >= share:
                continue
            if isinstance(piece, Resize):
                resize(left, piece.size)
            else:
                put(left, piece.offset, piece.data)
            sizes.append(len(left))
    if share < 1 and chance.random() < 0.5:  # the size is written by itself
        resize(left, chance.choice([*sizes, len(node.data)]))
    return bytes(left)


def _pieces(unsynced: Write | Resize) -> Iterator[Write | Resize]:
    """Split a write at the ends of sectors, each of which is written as a whole."""
    if isinstance(unsynced, Resize):
        yield unsynced
        return
    begin, end = unsynced.offset, unsynced.offset + len(unsynced.data)
    while begin < end:
        stop = min(end, (begin // SECTOR + 1) * SECTOR)
        yield Write(begin, unsynced.data[begin - unsynced.offset : stop - unsynced.offset])
        begin = stop
