"""The losing disk itself: only a writer that forgets an fsync loses its file."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from peers.losing_disk.cut import ONLY_SYNCED, Tree, cut, digest, lay_out, replay
from peers.losing_disk.model import Disk, Operation
from peers.losing_disk.mount import LosingDisk, losing_disk

SEEDS: Final = (ONLY_SYNCED, *range(40))
CONTENT: Final = bytes(range(256)) * 64
Writer = Callable[[Path], None]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LosingDisk]:
    with losing_disk(tmp_path_factory.mktemp("losing")) as mounted:
        yield mounted


def sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def write(path: Path, *, sync: bool) -> None:
    with path.open("wb") as stream:
        stream.write(CONTENT)
        stream.flush()
        if sync:
            os.fsync(stream.fileno())


def careful(folder: Path) -> None:
    write(folder / "aside", sync=True)
    (folder / "aside").rename(folder / "kept")
    sync_directory(folder)


def without_fsync_of_file(folder: Path) -> None:
    write(folder / "aside", sync=False)
    (folder / "aside").rename(folder / "kept")
    sync_directory(folder)


def without_fsync_of_directory(folder: Path) -> None:
    write(folder / "aside", sync=True)
    (folder / "aside").rename(folder / "kept")


def into_new_directory(folder: Path) -> None:
    """Sync all but the folder that holds the new directory."""
    (folder / "new").mkdir()
    careful(folder / "new")


def after(disk: LosingDisk, writer: Writer, *, ordered: bool) -> Disk:
    """Let a writer work in a durable folder of its own; return the disk as it then is."""
    folder = disk.folder / f"{writer.__name__}-{ordered}"
    folder.mkdir()
    sync_directory(disk.folder)
    writer(folder)
    *_, (_, found) = replay(disk.operations(), ordered=ordered)
    return found


def left_of(disk: Disk, writer: Writer) -> list[Tree]:
    """Cut by every seed; return what is left of the writer's folder each time."""
    start = f"/{writer.__name__}-{disk.ordered}/"
    trees = [cut(disk, seed) for seed in SEEDS]
    return [
        {path.removeprefix(start): data for path, data in tree.items() if path.startswith(start)}
        for tree in trees
    ]


@pytest.mark.parametrize("ordered", [False, True], ids=["loose", "ordered"])
def test_what_was_fsynced_survives_every_cut(disk: LosingDisk, ordered: bool) -> None:  # noqa: FBT001
    found = left_of(after(disk, careful, ordered=ordered), careful)
    assert [tree["kept"] for tree in found] == [CONTENT] * len(SEEDS)


@pytest.mark.parametrize("ordered", [False, True], ids=["loose", "ordered"])
def test_a_missing_fsync_of_the_file_loses_its_bytes(disk: LosingDisk, ordered: bool) -> None:  # noqa: FBT001
    found = left_of(after(disk, without_fsync_of_file, ordered=ordered), without_fsync_of_file)
    contents = [tree["kept"] for tree in found]
    assert contents[0] == b"", "only what was fsynced: an empty file under its final name"
    assert any(content not in {b"", CONTENT} for content in contents), "and in part"
    assert CONTENT in contents, "and whole, as on a disk that wrote it in time"


@pytest.mark.parametrize("ordered", [False, True], ids=["loose", "ordered"])
def test_a_missing_fsync_of_the_directory_loses_the_rename(
    disk: LosingDisk,
    ordered: bool,  # noqa: FBT001
) -> None:
    writer = without_fsync_of_directory
    found = left_of(after(disk, writer, ordered=ordered), writer)
    assert "kept" not in found[0]
    assert {"kept" in tree for tree in found} == {True, False}
    # fsync of the file commits its first name where metadata is ordered, and only there
    assert ("aside" in found[0]) is ordered


def test_a_directory_that_is_not_durable_itself_takes_its_files_with_it(disk: LosingDisk) -> None:
    found = left_of(after(disk, into_new_directory, ordered=False), into_new_directory)
    assert found[0] == {}
    assert {tree.get("new/kept") for tree in found} == {None, CONTENT}


def test_changes_survive_out_of_order_unless_metadata_is_ordered() -> None:
    made = [Operation("create", "/first"), Operation("create", "/second")]
    left: dict[bool, set[tuple[str, ...]]] = {}
    for ordered in (False, True):
        *_, (_, disk) = replay(made, ordered=ordered)
        left[ordered] = {tuple(sorted(cut(disk, seed))) for seed in range(200)}
    assert left[True] == {(), ("/first",), ("/first", "/second")}
    assert left[False] == left[True] | {("/second",)}


def test_sectors_and_sizes_survive_by_themselves() -> None:
    disk = Disk()
    number = disk.apply(Operation("create", "/file"))
    disk.apply(Operation("fsyncdir", node=1))
    disk.apply(Operation("write", node=number, data=b"a" * 1024))
    lefts = {cut(disk, seed)["/file"] for seed in range(400)}
    assert {b"", b"a" * 512, b"\0" * 512 + b"a" * 512, b"a" * 1024, b"\0" * 1024} <= lefts


def test_a_truncation_is_not_durable_before_fsync() -> None:
    disk = Disk()
    number = disk.apply(Operation("create", "/file"))
    disk.apply(Operation("fsyncdir", node=1))
    disk.apply(Operation("write", node=number, data=CONTENT))
    disk.apply(Operation("fsync", node=number))
    disk.apply(Operation("truncate", node=number, offset=3))
    assert cut(disk, ONLY_SYNCED)["/file"] == CONTENT
    disk.apply(Operation("fsync", node=number))
    assert cut(disk, ONLY_SYNCED)["/file"] == CONTENT[:3]


def test_a_seed_repeats_its_cut_and_leaves_the_disk_as_it_was(
    disk: LosingDisk, tmp_path: Path
) -> None:
    write(disk.folder / "unsynced", sync=False)
    *_, (_, found) = replay(disk.operations(), ordered=False)
    trees = [cut(found, 7) for _ in range(2)]
    assert digest(trees[0]) == digest(trees[1]) != digest(cut(found, 8))
    laid = lay_out(trees[0], tmp_path / "found")
    assert {
        f"/{path.relative_to(laid)}": path.read_bytes() if path.is_file() else None
        for path in laid.rglob("*")
    } == trees[0]
