"""Write the data set of a C-STORE from the network to the spool, and ingest it."""

import contextlib
import struct
import time
import uuid
from dataclasses import dataclass
from typing import BinaryIO, Final

from service.dicom.byte_sources import TooLargeError
from service.dicom.data_set_digest import DataSetDigest
from service.dicom.element_reader import PREAMBLE_BYTES
from service.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.dicom.statuses import SUCCESS
from service.domain.job import Source
from service.domain.reasons import Reason
from service.receiving.acceptance import Rejection, StoreCommand, reject, review_command
from service.receiving.ingest import Ingest, Written
from service.storage.spool import Spool

_ROOM_BYTES: Final = 4 << 20  # received between two looks at the disk
_HEADER_BYTES: Final = 1 << 16  # read at once when the header is examined


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentationContext:
    """The presentation context of a request, and its sender."""

    abstract_syntax_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CStoreHandler:
    """Begins a `StoreOperation` for each C-STORE request."""

    spool: Spool
    ingest: Ingest
    maximum_instance_bytes: int

    def open(self, command: StoreCommand, context: PresentationContext) -> "StoreOperation":
        """Begin a C-STORE, whose data set follows."""
        return StoreOperation(self, command, context)


class StoreOperation:
    """One C-STORE: its fragments are written to a file in `spool.incoming`, byte for byte.

    A C-STORE that is already rejected, by its command or for lack of disk space, is read to its
    end, because a sender reads no response before; nothing of it is kept.
    """

    def __init__(
        self, handler: CStoreHandler, command: StoreCommand, context: PresentationContext
    ) -> None:
        self._handler = handler
        self._command = command
        self._context = context
        self._arriving = handler.spool.incoming / f"{uuid.uuid4().hex}.arriving"
        self._left = handler.maximum_instance_bytes
        self._unchecked = _ROOM_BYTES
        self._digest = DataSetDigest()
        self._stream: BinaryIO | None = None
        self._offset = 0
        self._begun_at = time.monotonic()
        self._rejection: Rejection | None = None
        rejection = review_command(command, context.abstract_syntax_uid)
        if rejection is not None:
            self._refuse(rejection)
            return
        try:
            handler.spool.require_room()
            self._stream = self._arriving.open("x+b", buffering=_HEADER_BYTES)
            self._offset = self._stream.write(_file_head(command, context))
        except OSError as exc:
            self._refuse(exc)

    def write(self, fragment: bytes | memoryview) -> None:
        """Add a fragment of the data set."""
        if self._stream is None:
            return
        self._left -= len(fragment)
        if self._left < 0:
            self._refuse(TooLargeError())
            return
        try:
            self._unchecked -= len(fragment)
            if self._unchecked < 0:  # many may be received at once
                self._handler.spool.require_room()
                self._unchecked = _ROOM_BYTES
            self._stream.write(fragment)
            self._digest.update(fragment)
        except OSError as exc:
            self._refuse(exc)

    def finish(self) -> int:
        """Ingest the whole data set; return the status of the response (PS3.4 table B.2-1)."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except OSError as exc:
                self._refuse(exc)
        if self._rejection is not None or self._stream is None:
            return (self._rejection or reject(Reason.INTERNAL_ERROR)).status
        outcome = self._handler.ingest.receive(
            self._arriving,
            self._command,
            source=Source.DICOM,
            calling_ae_title=self._context.calling_ae_title,
            written=Written(
                stream=self._stream,
                offset=self._offset,
                transfer_syntax_uid=self._context.transfer_syntax_uid,
                digest=self._digest.text(),
                begun_at=self._begun_at,
            ),
        )
        self._close()
        return outcome.status if isinstance(outcome, Rejection) else SUCCESS

    def abandon(self) -> None:
        """Remove the bytes received so far: the association has ended."""
        self._close()
        with contextlib.suppress(OSError):  # the relay sweeps what a failing disk leaves
            self._arriving.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):  # what is in it is flushed, or not needed any more
                self._stream.close()
        self._stream = None

    def _refuse(self, why: Rejection | Exception) -> None:
        self.abandon()
        self._rejection = self._handler.ingest.refuse(
            why, source=Source.DICOM, calling_ae_title=self._context.calling_ae_title
        )


def _file_head(command: StoreCommand, context: PresentationContext) -> bytes:
    """Encode what precedes the data set in a Part 10 file (PS3.10 7.1).

    Encoded here, because pydicom would warn of a UID with a leading zero, which is accepted.
    """
    elements = struct.pack("<HH2s2xL2s", 0x0002, 0x0001, b"OB", 2, b"\0\1") + b"".join(
        (
            _short_element(0x0002, b"UI", command.sop_class_uid),
            _short_element(0x0003, b"UI", command.sop_instance_uid),
            _short_element(0x0010, b"UI", context.transfer_syntax_uid),
            _short_element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _short_element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        )
    )
    group_length = struct.pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, len(elements))
    return b"\0" * PREAMBLE_BYTES + b"DICM" + group_length + elements


def _short_element(number: int, vr: bytes, text: str) -> bytes:
    """Encode an element of the file meta group in Explicit VR Little Endian (PS3.5 7.1.2)."""
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value
