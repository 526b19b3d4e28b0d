"""Extract the document of an Encapsulated PDF (PS3.3 A.45.1)."""

from pathlib import Path
from typing import Final

from service.dicom.output_elements import UnreadableOutputError, read_elements

LARGEST_BYTES: Final = 64 << 20

_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_DOCUMENT_LENGTH: Final = 0x00420015
_BEGINNING: Final = b"%PDF-"
_END: Final = b"%%EOF"
_LENGTH_BYTES: Final = 4


def pdf_of(path: Path) -> bytes:
    """Return the PDF in an output, without the byte that makes its length even (PS3.5 8.2).

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableOutputError: it holds no PDF, or is larger than `LARGEST_BYTES`.
    """
    document, length = b"", None
    for depth, tag, value in read_elements(path, largest=LARGEST_BYTES, deepest=8):
        if not depth and tag == _ENCAPSULATED_DOCUMENT:
            document = value
        elif not depth and tag == _DOCUMENT_LENGTH and len(value) == _LENGTH_BYTES:
            length = int.from_bytes(value, "little")
    if length is not None and length <= len(document):
        document = document[:length]
    elif document.endswith(b"\0"):
        document = document[:-1]
    if not document.startswith(_BEGINNING) or _END not in document[-1024:]:
        raise UnreadableOutputError("The output holds no PDF.")
    return document
