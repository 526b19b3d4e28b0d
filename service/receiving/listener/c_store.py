"""One C-STORE's data set on its way from the wire to the spool."""

import contextlib
import hashlib
import struct
import uuid
from dataclasses import dataclass
from typing import BinaryIO

from service.dicom.byte_sources import TooLargeError
from service.dicom.element_reader import PREAMBLE_BYTES
from service.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.dicom.statuses import SUCCESS
from service.domain.job import Source
from service.receiving.acceptance import Rejection, StoreCommand, review_command
from service.receiving.ingest import Ingest
from service.storage.spool import Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentationContext:
    """The presentation context that a C-STORE came under, and who sent it."""

    abstract_syntax_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CStoreHandler:
    """Where C-STOREs go in."""

    spool: Spool
    ingest: Ingest
    maximum_instance_bytes: int

    def open(self, command: StoreCommand, context: PresentationContext) -> "StoreOperation":
        """Begin a C-STORE whose data set is about to come in."""
        return StoreOperation(self, command, context)


class StoreOperation:
    """Fragments go straight into a file of `spool.incoming`, byte for byte.

    A C-STORE that is already lost, by its command or for want of room, is heard to its end, because
    a sender reads no answer before; nothing of it is kept.
    """

    def __init__(
        self, door: CStoreHandler, command: StoreCommand, context: PresentationContext
    ) -> None:
        self._door = door
        self._command = command
        self._context = context
        self._arriving = door.spool.incoming / f"{uuid.uuid4().hex}.arriving"
        self._left = door.maximum_instance_bytes
        self._sha256 = hashlib.sha256()
        self._stream: BinaryIO | None = None
        self._rejection: Rejection | None = None
        rejection = review_command(command, context.abstract_syntax_uid)
        if rejection is not None:
            self._refuse(rejection)
            return
        try:
            door.spool.require_room()
            self._stream = self._arriving.open("xb")
            self._stream.write(_head(command, context))
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
            self._stream.write(fragment)
            self._sha256.update(fragment)
        except OSError as exc:
            self._refuse(exc)

    def finish(self) -> int:
        """Take in the whole data set and give the status of the answer (PS3.4 table B.2-1)."""
        if self._stream is not None:
            try:
                self._stream.close()
            except OSError as exc:
                self._refuse(exc)
        if self._rejection is not None:
            return self._rejection.status
        outcome = self._door.ingest.receive(
            self._arriving,
            self._command,
            source=Source.DICOM,
            calling_ae_title=self._context.calling_ae_title,
            sha256=self._sha256.hexdigest(),
        )
        return outcome.status if isinstance(outcome, Rejection) else SUCCESS

    def abandon(self) -> None:
        """Remove what has come in so far: its sender is gone."""
        if self._stream is not None:
            with contextlib.suppress(OSError):  # of bytes that nobody wants any more
                self._stream.close()
        self._stream = None
        with contextlib.suppress(OSError):  # the relay sweeps what a broken disk leaves here
            self._arriving.unlink(missing_ok=True)

    def _refuse(self, why: Rejection | Exception) -> None:
        self.abandon()
        self._rejection = self._door.ingest.refuse(
            why, source=Source.DICOM, calling_ae_title=self._context.calling_ae_title
        )


def _head(command: StoreCommand, context: PresentationContext) -> bytes:
    """Write what comes before the data set in a Part 10 file (PS3.10 7.1).

    By hand, because pydicom would warn of a UID with a leading zero, which the door lets pass.
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
