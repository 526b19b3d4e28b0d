"""Read an output of the outbox element by element, undecoded and within bounds.

The outbox holds objects that Lobar made itself. A page reads them as it would read anybody's:
without recursion, without pydicom's warnings, and never more than a limit.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom.uid import ExplicitVRLittleEndian

from service.dicom.byte_sources import UndecodableError
from service.dicom.element_reader import read_file_meta
from service.dicom.sequence_reader import elements

_TRANSFER_SYNTAX_UID: Final = 0x00020010


class UnreadableOutputError(Exception):
    """The output cannot be read; the message says why in one sentence."""


def read_elements(path: Path, *, largest: int, deepest: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield depth, tag and value of each element of an output, those in items included.

    Args:
        path: the file.
        largest: at most so many bytes are read.
        deepest: an element in more items than these is not read.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableOutputError: it is larger, deeper or no data set in Explicit VR Little Endian.
    """
    with path.open("rb") as stream:
        content = stream.read(largest + 1)
    if len(content) > largest:
        raise UnreadableOutputError(f"The output has more than {largest:,} bytes.")
    try:
        file = read_file_meta(BytesIO(content))
        syntax = str(file.meta.get_item(_TRANSFER_SYNTAX_UID).value, "ascii").rstrip("\0 ")
        if syntax != ExplicitVRLittleEndian:  # which every output is written in
            raise UnreadableOutputError("The output is in another transfer syntax.")
        for depth, tag, value in elements(content[file.offset :], implicit=False):
            if depth > 2 * deepest:  # a sequence and its item are a level each
                raise UnreadableOutputError(f"The output is nested deeper than {deepest} items.")
            yield depth, tag, value
    # the others are of a file without a legible transfer syntax
    except (UndecodableError, AttributeError, TypeError, UnicodeDecodeError) as exc:
        raise UnreadableOutputError("The output is not a DICOM file.") from exc
