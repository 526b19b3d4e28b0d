"""Whatever the bytes of a ZIP are, it is read or refused in words, within its limits."""

import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic.archives import overlapping, quoted, zipped

from service.settings import WebSettings
from service.web.uploading.archive import Archive
from service.web.uploading.refusals import Refusal

LIMITS: Final = WebSettings(
    maximum_zip_entries=20, maximum_zip_bytes=1 << 20, maximum_zip_entry_bytes=1 << 18
)
FILES: Final = {"a/one.dcm": bytes(range(256)) * 40, "two.png": b"\x89PNG" * 500, "three": b""}
SEEDS: Final = (
    zipped(FILES),
    zipped(FILES, zipfile.ZIP_STORED),
    zipped(FILES, zip64=True),
    zipped({}),
    overlapping(5, bytes(5000)),
    quoted(5, bytes(5000)),
)


def read(path: Path, folder: Path) -> Iterator[bytes]:
    """Read every file of a ZIP as an upload does, each to its end or its refusal."""
    archive = Archive(path, LIMITS)
    try:
        for entry in archive.entries:
            target = folder / "target"
            try:
                archive.extract(entry, target, lambda: None)
                yield target.read_bytes()
            except Refusal:
                continue
            finally:
                target.unlink(missing_ok=True)
    finally:
        archive.close()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6),
    from_the_end=st.booleans(),
    cut=st.integers(0, 60),
    more=st.binary(max_size=40),
)
def test_damaged_bytes_are_read_or_refused_and_nothing_else(
    tmp_path: Path,
    seed: bytes,
    changes: list[tuple[int, int]],
    cut: int,
    more: bytes,
    *,
    from_the_end: bool,
) -> None:
    content = bytearray(seed[: len(seed) - cut] + more)
    for place, value in changes if content else ():
        at = place % min(len(content), 400)
        content[-1 - at if from_the_end else at] = value
    path = tmp_path / "damaged.zip"
    path.write_bytes(content)
    inflated = []
    with suppress(Refusal):  # any other exception fails the test
        inflated = list(read(path, tmp_path))
    assert sum(map(len, inflated)) <= LIMITS.maximum_zip_bytes
    assert all(len(each) <= LIMITS.maximum_zip_entry_bytes for each in inflated)


def test_whole_files_come_out_as_they_went_in(tmp_path: Path) -> None:
    for seed in SEEDS[:3]:
        path = tmp_path / "whole.zip"
        path.write_bytes(seed)
        assert list(read(path, tmp_path)) == list(FILES.values())


def test_a_list_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.zip"
    listed = zipped({f"{n}": b"" for n in range(3000)})
    path.write_bytes(listed)
    with pytest.raises(Refusal, match="more than 20 files"):
        list(read(path, tmp_path))


def test_the_disk_is_asked_before_each_piece(tmp_path: Path) -> None:
    path = tmp_path / "whole.zip"
    path.write_bytes(zipped({"a": bytes(range(256)) * 1000}))
    archive = Archive(path, LIMITS)
    asked = 0

    def full_at_the_second() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        archive.extract(archive.entries[0], tmp_path / "target", full_at_the_second)
    archive.close()
    assert (tmp_path / "target").stat().st_size < 1 << 18
