"""Write the parts of a multipart/related body to the spool as they arrive (PS3.18 10.5.1).

Each part can be taken as soon as it is complete, so that a long body needs the disk of one part.
"""

import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final, Self

from fastapi import Request
from python_multipart.multipart import MultipartParser, parse_options_header

from service.storage.spool import Spool
from service.web.dicomweb.media_types import DICOM
from service.web.problem import Problem

MOST_INSTANCES: Final = 1000  # in one body
_LONGEST_HEADER: Final = 8 << 10  # bytes of the headers of a part
_LONGEST_BOUNDARY: Final = 200  # RFC 2046, section 5.1.1, has 70; Orthanc sends 73


class StoreBody:
    """The parts of one body, in `spool.incoming` under generated names."""

    def __init__(self, boundary: bytes, spool: Spool) -> None:
        self._spool = spool
        self._complete: deque[Path] = deque()
        self._open: tuple[Path, BinaryIO] | None = None
        self._count = 0
        self._has_ended = False
        self._header_bytes = 0
        self._field = self._value = self._content_type = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._open_file,
                "on_part_data": self._write,
                "on_part_end": self._close,
                "on_end": self._end,
            },
        )

    @classmethod
    @contextmanager
    def of(cls, boundary: bytes, spool: Spool) -> Iterator[Self]:
        """Open the parts of a body; on exit, remove their files that are still there."""
        body = cls(boundary, spool)
        try:
            yield body
        finally:
            with suppress(OSError):  # a full disk fails what is still in the buffer
                body._close()
            while (path := body.next_completed()) is not None:
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    @property
    def has_ended(self) -> bool:
        """Whether the closing boundary was read."""
        return self._has_ended

    @property
    def count(self) -> int:
        """How many parts have begun."""
        return self._count

    def feed(self, piece: bytes) -> None:
        """Write the next bytes of the body.

        Raises:
            FormParserError: they cannot be a multipart body.
            OSError: the disk is at its reserve or cannot be written.
            Problem: there are too many parts in it, or one is of another type.
        """
        self._spool.require_room()
        self._parser.write(piece)

    def next_completed(self) -> Path | None:
        """Take the file of the completed part that was sent first; None when all are taken.

        The caller removes it; one that is not taken is removed on exit.
        """
        return self._complete.popleft() if self._complete else None

    def _begin(self) -> None:
        self._field = self._value = self._content_type = b""
        self._header_bytes = 0
        self._count += 1
        if self._count > MOST_INSTANCES:
            sentence = f"At most {MOST_INSTANCES:,} instances are taken in one request."
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _LONGEST_HEADER:
            raise Problem(HTTPStatus.BAD_REQUEST, "The headers of a part are too long.")

    def _header_end(self) -> None:
        if self._field.lower() == b"content-type":
            self._content_type = self._value
        self._field = self._value = b""

    def _open_file(self) -> None:
        stated, _ = parse_options_header(self._content_type)
        if stated not in {b"", DICOM.encode()}:
            raise unsupported()
        path = self._spool.incoming / f"{uuid.uuid4().hex}.upload"
        self._open = (path, path.open("wb"))

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._open is not None:
            self._open[1].write(memoryview(data)[start:end])

    def _close(self) -> None:
        if self._open is not None:
            path, stream = self._open
            self._open = None
            self._complete.append(path)
            stream.close()

    def _end(self) -> None:
        self._has_ended = True


def boundary_of(request: Request) -> bytes:
    """Return the boundary between the body's parts.

    Raises:
        Problem: it is not multipart/related with instances (PS3.18 10.5.1.1).
    """
    media_type, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if media_type != b"multipart/related" or options.get(b"type", b"") not in {b"", DICOM.encode()}:
        raise unsupported()
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise Problem(HTTPStatus.BAD_REQUEST, "The Content-Type names no boundary (RFC 2046).")
    return boundary


def unsupported() -> Problem:
    """Build the 415 problem."""
    return Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f'Send instances as multipart/related; type="{DICOM}" (PS3.18 10.5).',
    )
