"""Send stretches of files as multipart/related, or as one body, without holding them in memory."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Final

from fastapi.responses import StreamingResponse

from service.web.dicomweb.header import Stretch
from service.web.dicomweb.threads import FewThreads
from service.web.problem import Problem

_PIECE_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One body: stretches of a file, one after the other."""

    media_type: str
    path: Path
    stretches: tuple[Stretch, ...]

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(each.length for each in self.stretches)

    def pieces(self) -> Iterator[bytes]:
        """Read the body piece by piece."""
        with self.path.open("rb") as stream:
            for stretch in self.stretches:
                stream.seek(stretch.offset)
                left = stretch.length
                while left:
                    piece = stream.read(min(left, _PIECE_BYTES))
                    if not piece:
                        raise EOFError("the file is shorter than its header says")
                    left -= len(piece)
                    yield piece


def whole_file(path: Path, media_type: str) -> Part:
    """Return a file as a part.

    Raises:
        Problem: retention removed it in the meantime.
    """
    try:
        size_bytes = path.stat().st_size
    except FileNotFoundError as exc:
        raise _removed() from exc
    return Part(media_type=media_type, path=path, stretches=(Stretch(0, size_bytes),))


def single(part: Part, threads: FewThreads) -> StreamingResponse:
    """Send one body as it is.

    Raises:
        Problem: retention removed the file in the meantime.
    """
    headers = {"content-length": str(part.size)}
    body = threads.pieces(_begun(part.pieces()))
    return StreamingResponse(body, media_type=part.media_type, headers=headers)


def related(parts: Sequence[Part], media_type: str, threads: FewThreads) -> StreamingResponse:
    """Send parts of one media type as multipart/related (RFC 2387).

    Raises:
        Problem: retention removed the first file in the meantime. Where it removes a later one
            while the first is sent, the body ends before its length.
    """
    boundary = uuid.uuid4().hex
    heads = [_head(boundary, part) for part in parts]
    end = f"--{boundary}--\r\n".encode()
    size = sum(len(head) + part.size + 2 for head, part in zip(heads, parts, strict=True))

    def body() -> Iterator[bytes]:
        for head, part in zip(heads, parts, strict=True):
            pieces = part.pieces()
            yield head + next(pieces, b"")
            yield from pieces
            yield b"\r\n"
        yield end

    return StreamingResponse(
        threads.pieces(_begun(body())),
        media_type=f'multipart/related; type="{media_type}"; boundary={boundary}',
        headers={"content-length": str(size + len(end))},
    )


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Open the first file before the response begins; it is then sent also if it is removed."""
    try:
        first = next(pieces, b"")
    except FileNotFoundError as exc:
        raise _removed() from exc
    return chain((first,), pieces)


def _removed() -> Problem:
    sentence = "Files are removed some time after their job finished (spool.keep_days)."
    return Problem(HTTPStatus.GONE, sentence)


def _head(boundary: str, part: Part) -> bytes:
    lines = (f"--{boundary}", f"Content-Type: {part.media_type}", f"Content-Length: {part.size}")
    return "\r\n".join((*lines, "", "")).encode()
