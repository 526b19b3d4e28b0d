"""The bytes of a data set, read in order and within bounds: plain, or inflated as they are read."""

import zlib
from io import BytesIO
from typing import BinaryIO, Final

_PIECE_BYTES: Final = 1 << 16


class UndecodableError(Exception):
    """The bytes are not a data set in the stated transfer syntax."""


class TruncatedError(UndecodableError):
    """The bytes end before the data set does."""


class TooLargeError(Exception):
    """The data set is larger, or inflates to more, than is accepted."""


class PlainBytes:
    """The next `size` bytes of a stream."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self.position = 0  # bytes taken or skipped so far

    def take(self, count: int) -> bytes:
        """Read the next `count` bytes.

        Raises:
            TruncatedError: there are not so many.
        """
        if count > self._size - self.position:
            raise TruncatedError
        self.position += count
        return self._stream.read(count)

    def skip(self, count: int) -> None:
        """Skip the next `count` bytes.

        Raises:
            TruncatedError: there are not so many.
        """
        if count > self._size - self.position:
            raise TruncatedError
        self.position += count
        self._stream.seek(count, 1)

    def at_end(self) -> bool:
        """Return whether all bytes have been read."""
        return self.position == self._size


class InflatedBytes:
    """The bytes of a deflated data set (PS3.5 A.5), inflated in pieces, never all at once."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._inflator = zlib.decompressobj(-zlib.MAX_WBITS)
        self._limit = limit
        self._ready = BytesIO()
        self._ready_bytes = 0
        self.position = 0  # inflated bytes taken or skipped so far

    def take(self, count: int) -> bytes:
        """Read the next `count` inflated bytes.

        Raises:
            TruncatedError: the stream ends before.
            UndecodableError: it cannot be inflated.
            TooLargeError: it inflates to more than the limit.
        """
        self.position += count
        parts = []
        while count:
            parts.append(self._piece(count))
            count -= len(parts[-1])
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Skip the next `count` inflated bytes; raises as `take` does."""
        self.position += count
        while count:
            count -= len(self._piece(count))

    def at_end(self) -> bool:
        """Return whether the stream is inflated and read to its end; raises as `take` does."""
        return not self._ready_bytes and not self._inflate()

    def _piece(self, at_most: int) -> bytes:
        if not self._ready_bytes and not self._inflate():
            raise TruncatedError
        piece = self._ready.read(at_most)
        self._ready_bytes -= len(piece)
        return piece

    def _inflate(self) -> bool:
        """Inflate the next piece; return False at the end of the stream."""
        while not self._ready_bytes and not self._inflator.eof:
            deflated = self._inflator.unconsumed_tail or self._stream.read(_PIECE_BYTES)
            try:  # zlib may hold back some bytes even when it has been given all
                inflated = self._inflator.decompress(deflated, _PIECE_BYTES)
            except zlib.error as exc:
                raise UndecodableError from exc
            if not deflated and not inflated and not self._inflator.eof:
                raise TruncatedError
            self._limit -= len(inflated)
            if self._limit < 0:
                raise TooLargeError
            self._ready, self._ready_bytes = BytesIO(inflated), len(inflated)
        return bool(self._ready_bytes)
