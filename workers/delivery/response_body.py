"""Read the body of a DICOMweb response as DICOM JSON: inflate it, and convert Native DICOM XML.

What a service sends is not trusted: sizes are bounded, and XML has no document type and so no
entities.
"""

import email.parser
import json
import zlib
from typing import Any, Final
from xml.parsers import expat

MAXIMUM_BYTES: Final = 1 << 20  # about one object; counted after inflating
_GZIP_OR_ZLIB: Final = 47  # window bits with which zlib recognises either header
_RAW_DEFLATE: Final = -15  # what some send as `deflate` (RFC 9110 8.4.1.2)
_DEEPEST: Final = 64  # elements within each other
_CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})


class UnreadableError(Exception):
    """The body is not a DICOM data set in a known form, or it is too long."""


def inflate(body: bytes, coding: str) -> bytes:
    """Undo a content coding, within the bound.

    Raises:
        UnreadableError: the coding is unknown, the bytes are damaged, or too many.
    """
    if coding.strip().lower() in {"", "identity"}:
        return body
    if coding.strip().lower() not in _CODINGS:
        raise UnreadableError
    for window in (_GZIP_OR_ZLIB, _RAW_DEFLATE):
        stream = zlib.decompressobj(window)
        try:
            inflated = stream.decompress(body, MAXIMUM_BYTES + 1)
        except zlib.error:
            continue
        if stream.eof and len(inflated) <= MAXIMUM_BYTES:
            return inflated
    raise UnreadableError


def dataset(body: bytes) -> dict[str, Any]:
    """Parse the DICOM JSON model (PS3.18 F.2) or Native DICOM Model (PS3.19 A.1).

    Either may be the first part of a multipart message, or a list of one.

    Raises:
        UnreadableError: it is neither.
    """
    text = body.strip()
    if text.startswith(b"--"):
        text = _first_part(text)
    if text.startswith((b"<", b"\xef\xbb\xbf<", b"\xff\xfe<", b"\xfe\xff\0<")):
        return _Native(text).dataset
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise UnreadableError from exc
    if isinstance(found, list) and len(found) <= 1:  # some send a list of data sets
        found = found[0] if found else {}
    if not isinstance(found, dict):
        raise UnreadableError
    return found


def _first_part(body: bytes) -> bytes:
    """Return the content of the first part of a multipart message (RFC 2046 5.1)."""
    boundary = body.split(b"\n", 1)[0].strip()
    part = body[len(boundary) :].split(boundary, 1)[0].lstrip(b"\r\n")
    content = email.parser.BytesParser().parsebytes(part).get_payload(decode=True)
    return content.strip() if isinstance(content, bytes) else b""


class _Native:
    """Handlers of an XML parser, which build the same data set as JSON."""

    def __init__(self, body: bytes) -> None:
        self.dataset: dict[str, Any] = {}
        self._path: list[tuple[str, dict[str, Any]]] = []  # name, and the data set or element
        self._text: list[str] = []
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        try:
            parser.Parse(body, True)  # noqa: FBT003 -- positional in expat: this is the end
        except (expat.ExpatError, ValueError, LookupError) as exc:
            raise UnreadableError from exc

    def _refuse(self, *_: object) -> None:
        raise UnreadableError

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(" ")[2]
        if len(self._path) >= _DEEPEST or (not self._path and name != "NativeDicomModel"):
            raise UnreadableError
        within = self._path[-1][1] if self._path else {}
        self._text.clear()
        made = within
        if name == "NativeDicomModel":
            made = self.dataset
        elif name == "DicomAttribute":
            made = within[attributes.get("tag", "")] = {"vr": attributes.get("vr"), "Value": []}
        elif name == "Item":
            made = {}
            within.setdefault("Value", []).append(made)
        self._path.append((name, made))

    def _end(self, _: str) -> None:
        name, within = self._path.pop()
        if name == "Value":
            within.setdefault("Value", []).append("".join(self._text).strip())
