"""Read a ZIP within limits: its list of files first, then one file at a time.

The names in it are shown to the person who sent it and never used as a path.
"""

import io
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, BinaryIO, Final

from service.settings import WebSettings
from service.web.uploading.names import printable
from service.web.uploading.refusals import Refusal

_STARTS: Final = (b"PK\x03\x04", b"PK\x05\x06")  # APPNOTE 4.3.7; 4.3.16 of one without files
_PIECE: Final = 1 << 17  # so far at most a file goes below the reserve
_LOCAL_HEADER_BYTES: Final = 30  # APPNOTE 4.3.7, without name and extra field
_LISTED_BYTES: Final = 512  # of one file in the list: 46, its name and extra fields
_END_BYTES: Final = 1 << 17  # the record at the end, its comment, and a long name; a piece too
_SMALL_BYTES: Final = 1 << 20  # a smaller file may be compressed at any ratio
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000  # APPNOTE 4.4.4
_OF_THE_SYSTEM: Final = (".ds_store", "thumbs.db", "desktop.ini")
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# what zipfile raises on damaged bytes
_DAMAGED: Final = (
    *(zipfile.BadZipFile, struct.error, zlib.error, EOFError, OSError),
    *(ValueError, OverflowError, RuntimeError, MemoryError),
)
_ONE_BY_ONE: Final = "Unpack it, and send the files in it; a folder can be chosen as a whole."


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a ZIP."""

    name: str  # as the archive has it, made printable
    info: zipfile.ZipInfo


class Archive:
    """An open ZIP; use it from one thread at a time."""

    def __init__(self, path: Path, limits: WebSettings) -> None:
        """Open a ZIP and check its list of files.

        Raises:
            Refusal: it is damaged, or a limit is exceeded; nothing was inflated.
            OSError: The file cannot be read.
        """
        self._limits = limits
        self._deadline = time.monotonic() + limits.maximum_zip_seconds
        self._stream = _BoundedFile(path, limits)
        try:
            self._opened = _opened(self._stream, limits)
            self.entries = _entries(self._opened)
        except BaseException:
            self._stream.close()
            raise

    def has_time(self) -> bool:
        """Return whether more of it may still be read."""
        return time.monotonic() < self._deadline

    def close(self) -> None:
        """Close the file."""
        self._opened.close()
        self._stream.close()

    def extract(self, entry: Entry, target: Path, require_room: Callable[[], None]) -> None:
        """Write one file of the archive.

        Args:
            entry: The file.
            target: Where its bytes go; remains, incomplete, after an error.
            require_room: Called before each piece; raises OSError where the disk is full.

        Raises:
            Refusal: it is encrypted, damaged, no file, too large, or the time is over.
            OSError: The disk is at its reserve or cannot be written.
        """
        self._require_extractable(entry.info)
        with target.open("wb") as written:
            for piece in self._pieces(entry.info):
                require_room()
                written.write(piece)

    def _pieces(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        """Read the pieces of a file; as many bytes as the list says, whatever it inflates to."""
        stream: IO[bytes] | None = None
        while True:
            if not self.has_time():
                raise _too_slow(self._limits)
            try:
                stream = stream or self._opened.open(info)
                piece = stream.read(_PIECE)
            except _DAMAGED as exc:
                raise _damaged("The file is damaged in the archive: it") from exc
            if not piece:
                return
            yield piece

    def _require_extractable(self, info: zipfile.ZipInfo) -> None:
        limits = self._limits
        if info.flag_bits & _ENCRYPTED:
            raise _refusal("It is encrypted in the archive.", "Send it without a password.")
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where no Unix wrote it
        if kind not in (0, stat.S_IFREG):
            detail = "It is a link or a device in the archive, and no file."
            raise _refusal(detail, "Send the file that is meant.")
        if info.compress_type not in _METHODS:
            detail = "The archive is compressed by another method than deflate."
            raise _refusal(detail, "Make the ZIP without special options, or send the file.")
        if info.file_size > limits.maximum_zip_entry_bytes:
            raise _too_large(
                f"The file has {info.file_size:,} bytes; at most "
                f"{limits.maximum_zip_entry_bytes:,} are taken."
            )
        if _ratio(info) > limits.maximum_zip_ratio:
            raise _too_large(
                f"The file inflates to more than {limits.maximum_zip_ratio} times its "
                "size in the archive."
            )


class _BoundedFile(io.BufferedReader):
    """The bytes of a ZIP; refuses to read at once what only a list of too many files can be.

    zipfile reads the whole list by one call, and makes an object for each file in it. What the
    record at the end says about their number need not be true, so the bytes are what is bounded.
    """

    def __init__(self, path: Path, limits: WebSettings) -> None:
        raw = io.FileIO(path)
        super().__init__(raw)
        self._most_files = limits.maximum_zip_entries
        self._most_bytes = limits.maximum_zip_entries * _LISTED_BYTES + _END_BYTES
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to so many bytes.

        Raises:
            Refusal: They are more than the longest list of files has.
        """
        left = max(0, self._size - self.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > self._most_bytes:
            raise _too_many(self._most_files)
        return super().read(wanted)


def is_zip(first_bytes: bytes) -> bool:
    """Return whether a file begins as a ZIP; one with anything before it is none here."""
    return first_bytes.startswith(_STARTS)


def _opened(stream: BinaryIO, limits: WebSettings) -> zipfile.ZipFile:
    try:
        opened = zipfile.ZipFile(stream)
    except _DAMAGED as exc:
        raise _damaged("The archive is damaged: its list of files") from exc
    _require_bounded(opened.infolist(), limits)
    return opened


def _entries(opened: zipfile.ZipFile) -> list[Entry]:
    """List the files that a person put there.

    Raises:
        Refusal: There is none.
    """
    entries = [
        Entry(printable(each.orig_filename), each)
        for each in opened.infolist()
        if not each.filename.endswith("/") and not _is_of_the_system(each.filename)
    ]
    if not entries:
        raise _refusal("There is no file in the archive.", "Send another one.")
    return entries


def _require_bounded(infos: list[zipfile.ZipInfo], limits: WebSettings) -> None:
    if len(infos) > limits.maximum_zip_entries:
        raise _too_many(limits.maximum_zip_entries)
    if sum(each.file_size for each in infos) > limits.maximum_zip_bytes:
        raise _too_large(
            f"The files in the archive have more than {limits.maximum_zip_bytes:,} bytes together."
        )
    end = 0
    for each in sorted(infos, key=lambda info: info.header_offset):
        if each.header_offset < end:
            raise _damaged("The archive is damaged: files in it overlap, which")
        end = each.header_offset + _LOCAL_HEADER_BYTES + each.compress_size


def _is_of_the_system(name: str) -> bool:
    """Return whether macOS or Windows put a file there, and not a person."""
    *folders, last = name.lower().split("/")
    return "__macosx" in folders or last in _OF_THE_SYSTEM


def _ratio(info: zipfile.ZipInfo) -> float:
    return 0 if info.file_size <= _SMALL_BYTES else info.file_size / max(1, info.compress_size)


def _refusal(detail: str, advice: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, detail, advice)


def _damaged(what: str) -> Refusal:
    return _refusal(f"{what} cannot be read.", f"Make the archive again. {_ONE_BY_ONE}")


def _too_large(detail: str) -> Refusal:
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, _ONE_BY_ONE)


def _too_many(most: int) -> Refusal:
    return _too_large(f"The archive lists more than {most:,} files, or its list is too long.")


def _too_slow(limits: WebSettings) -> Refusal:
    return _too_large(
        f"Reading the archive took longer than {limits.maximum_zip_seconds:g} s; "
        "this file was not reached."
    )
