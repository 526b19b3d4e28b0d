"""Write the files of a multipart body to the spool as they arrive.

Starlette's own form parser would put them into another temporary folder first, whose free space
is not checked.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final, Self

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.storage.spool import Spool
from service.web.problem import Problem
from service.web.uploading.names import printable

MOST_FILES: Final = 100  # in one body
_MOST_FIELDS: Final = 50  # of a form, before, between or after the files; their values are dropped
_LONGEST_HEADER: Final = 1 << 16  # bytes; a name of 10,000 letters fits


class Parts:
    """The files of one body, in `spool.incoming` under generated names, and their sent names."""

    def __init__(self, boundary: bytes, spool: Spool) -> None:
        self.files: list[tuple[str, Path]] = []
        self._spool = spool
        self._stream: BinaryIO | None = None
        self._fields = 0
        self._ended = False
        self._field = self._value = self._disposition = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._open,
                "on_part_data": self._write,
                "on_part_end": self._close,
                "on_end": self._end,
            },
        )

    @classmethod
    @contextmanager
    def of(cls, boundary: bytes, spool: Spool) -> Iterator[Self]:
        """Open the parts of a body; on exit, remove their files that are still there."""
        parts = cls(boundary, spool)
        try:
            yield parts
        finally:
            with suppress(OSError):  # a full disk fails what is still in the buffer
                parts._close()
            for _, path in parts.files:
                path.unlink(missing_ok=True)

    def feed(self, piece: bytes) -> None:
        """Write the next bytes of the body.

        Raises:
            FormParserError: they cannot be a multipart body.
            OSError: the disk is at its reserve or cannot be written.
            Problem: there are too many files in it.
        """
        self._spool.require_room()
        self._parser.write(piece)

    def finish(self) -> None:
        """End the body.

        Raises:
            FormParserError: it is incomplete.
        """
        self._parser.finalize()
        if not self._ended:
            raise FormParserError("the closing boundary is missing")

    def _begin(self) -> None:
        self._field = self._value = self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field = _bounded(self._field + data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value = _bounded(self._value + data[start:end])

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _open(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"filename")
        if not name:  # a field of the form, or an empty file input
            self._fields += 1
            if self._fields > _MOST_FIELDS:
                raise FormParserError("too many fields")
            return
        if len(self.files) == MOST_FILES:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"At most {MOST_FILES} files are taken in one request.",
            )
        path = self._spool.incoming / f"{uuid.uuid4().hex}.upload"
        self.files.append((printable(name.decode("utf-8", errors="replace")), path))
        self._stream = path.open("wb")

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._stream is not None:
            self._stream.write(memoryview(data)[start:end])

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    def _end(self) -> None:
        self._ended = True


def boundary_of(request: Request) -> bytes | None:
    """Return the boundary between the body's parts; None when it is not a multipart form."""
    media_type, options = parse_options_header(request.headers.get("content-type"))
    return options.get(b"boundary") if media_type == b"multipart/form-data" else None


def _bounded(header: bytes) -> bytes:
    if len(header) > _LONGEST_HEADER:
        raise FormParserError("a header is too long")
    return header
