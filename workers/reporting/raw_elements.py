"""Read and copy elements as bytes, without decoding their values.

A header may hold names in an unknown character set, impossible dates and malformed numbers.
pydicom warns of such values with the value in the message, or raises. An output must have them
exactly as received, so that the PACS files it with the study it belongs to.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydicom.charset import default_encoding, python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag, Tag
from pydicom.values import convert_SQ

from workers.reporting.quiet_pydicom import NO_WARNINGS

TEXT_VRS: Final = frozenset(
    "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split()  # noqa: SIM905 -- reads as PS3.5 6.2
)
DEFAULT_REPERTOIRE: Final = "ISO_IR 6"
LONGEST_VALUE: Final = 0xFFFE  # what the two-byte length of an explicit VR holds, PS3.5 7.1.2
ITEM: Final = b"\xfe\xff\x00\xe0"  # PS3.5 7.5
IMPLICIT_VR_HEADER_BYTES: Final = 8  # tag and length, PS3.5 7.1.3


def tag_of(keyword: str) -> BaseTag:
    """Return the tag of a keyword of PS3.6."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return Tag(tag)


def raw_element(tag: BaseTag, value: bytes) -> RawDataElement:
    """Wrap a value field so that pydicom writes it as it is, padded to even length."""
    vr = dictionary_VR(tag)
    if len(value) % 2:
        value += b"\x00" if vr == "UI" else b" "
    return RawDataElement(tag, vr, len(value), value, 0, False, True)  # noqa: FBT003 -- explicit, little endian


def value_field(header: Dataset, keyword: str | BaseTag) -> bytes | None:
    """Return the value field of a text element as received; None if the element is absent.

    An element that is decoded already is encoded in the header's own character set.
    """
    element = header.get_item(keyword, keep_deferred=True)
    if element is None:
        return None
    if isinstance(element, RawDataElement):
        return element.value or b""
    return _encode_value(header, element)


def text_values(header: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a text element in the default repertoire; empty if it has none."""
    value = value_field(header, keyword) or b""
    values = tuple(
        word.strip(" \x00") for word in value.decode("ascii", errors="replace").split("\\")
    )
    return values if any(values) else ()


def unsigned_short(header: Dataset, keyword: str) -> int | None:
    """Return the single value of a US element; None if it has none or several."""
    element = header.get_item(keyword, keep_deferred=True)
    if isinstance(element, RawDataElement):
        value = element.value or b""
        order = "<H" if element.is_little_endian else ">H"
        return int(struct.unpack(order, value)[0]) if len(value) == struct.calcsize(order) else None
    value = getattr(element, "value", None)
    return value if isinstance(value, int) else None


def decimals(header: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of a DS element; empty if one of them is not a decimal string."""
    values = text_values(header, keyword)
    if not all(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", word) for word in values):
        return ()
    return tuple(float(word) for word in values)


def copy_element(header: Dataset, keyword: str) -> RawDataElement | None:
    """Copy a header's element for another data set, its bytes unchanged.

    Returns:
        The element; None if it is absent, too long for an explicit VR, or a sequence without items
        that can be parsed.
    """
    tag = tag_of(keyword)
    if dictionary_VR(tag) == "SQ":
        return _copy_sequence(header, tag)
    value = value_field(header, tag)
    if value is None or len(value) > LONGEST_VALUE:
        return None
    return raw_element(tag, value)


def sequence_items(header: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; none if it is absent or cannot be parsed."""
    return _items(header, tag_of(keyword))


def build_sequence(keyword: str, sequence: Iterable[Iterable[RawDataElement]]) -> RawDataElement:
    """Build a sequence element; each item is given by its elements."""
    return raw_element(
        tag_of(keyword), b"".join(_item(encode_elements(elements)) for elements in sequence)
    )


def encode_elements(elements: Iterable[DataElement | RawDataElement]) -> bytes:
    """Encode elements in explicit VR little endian, by ascending tag; text must be ASCII."""
    return b"".join(encoded_parts(elements))


def encoded_parts(elements: Iterable[DataElement | RawDataElement]) -> Iterator[bytes]:
    """Encode elements as `encode_elements` does, in parts that follow each other.

    Pixels are a part of their own, which is the value itself: pydicom's writer copies them four
    times.
    """
    buffer = _explicit()
    for element in sorted(elements, key=lambda element: element.tag):
        value: Any = element.value
        if isinstance(element, DataElement) and element.VR == "SQ":
            # as pydicom's writer does, but without its search for ambiguous VRs in every item
            inner = b"".join(_item(encode_elements(item.elements())) for item in value)
            write_data_element(buffer, raw_element(element.tag, inner))
        elif element.VR == "OB" and isinstance(value, bytes) and not len(value) % 2:
            tag = element.tag
            buffer.write(struct.pack("<HH2sHL", tag.group, tag.element, b"OB", 0, len(value)))
            yield buffer.getvalue()
            yield value
            buffer = _explicit()
        else:
            write_data_element(buffer, element, DEFAULT_REPERTOIRE)
    yield buffer.getvalue()


def _explicit() -> DicomBytesIO:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = False
    buffer.is_little_endian = True
    return buffer


def encode_implicit(elements: Iterable[DataElement | RawDataElement]) -> bytes:
    """Encode elements in implicit VR little endian (PS3.5 7.1.3), by ascending tag, undecoded.

    Args:
        elements: read from a file in explicit VR little endian, whose values are the same bytes.

    Raises:
        Exception: a sequence is damaged; pydicom raises many kinds.
    """
    encoded = bytearray()
    for element in sorted(elements, key=lambda element: element.tag):
        if element.VR == "SQ":
            items = (encode_implicit(item.elements()) for item in _parse_items(element))
            value = b"".join(_item(body) for body in items)
        elif isinstance(element, RawDataElement):
            value = element.value or b""
        else:
            value = _encode_value(Dataset(), element)
        encoded += struct.pack("<HHL", element.tag.group, element.tag.element, len(value)) + value
    return bytes(encoded)


def known_character_set(header: Dataset) -> tuple[str, ...] | None:
    """Return the defined terms of Specific Character Set; None if pydicom does not know one."""
    terms = text_values(header, "SpecificCharacterSet") or ("",)
    return terms if all(term in python_encoding for term in terms) else None


def _encode_value(header: Dataset, element: DataElement) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = True
    buffer.is_little_endian = True
    terms: tuple[str, ...] | None = ()
    if element.VR in {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}:
        terms = known_character_set(header)
    with NO_WARNINGS:
        try:
            write_data_element(buffer, element, list(terms or [default_encoding]))
        except Exception:  # noqa: BLE001 -- a value that no encoding holds is left empty
            return b""
    return buffer.getvalue()[IMPLICIT_VR_HEADER_BYTES:]


def _items(header: Dataset, tag: BaseTag) -> list[Dataset]:
    """Parse a sequence; no items if it is damaged."""
    try:
        element = header.get_item(tag, keep_deferred=True)
        return [] if element is None else _parse_items(element)
    except Exception:  # noqa: BLE001 -- damaged sequences raise many kinds of error, RecursionError too
        return []


def _parse_items(element: DataElement | RawDataElement) -> list[Dataset]:
    if isinstance(element, RawDataElement):
        implicit = element.is_implicit_VR or element.VR == "UN"  # PS3.5 6.2.2, note 2
        return list(convert_SQ(element.value or b"", implicit, element.is_little_endian))
    return list(element.value)


def _copy_sequence(header: Dataset, tag: BaseTag) -> RawDataElement | None:
    try:
        bodies = [encode_elements(_copy_elements(item)) for item in _items(header, tag)]
    except Exception:  # noqa: BLE001 -- as above: a nested sequence may be damaged
        return None
    sequence = b"".join(_item(body) for body in bodies if body)
    return raw_element(tag, sequence) if sequence else None


def _copy_elements(item: Dataset) -> Iterator[RawDataElement]:
    for element in item.elements():
        tag = element.tag
        if not dictionary_has_tag(tag) or tag.element == 0:
            continue  # a private element means nothing without its private creator
        vr = dictionary_VR(tag)
        if vr == "SQ":
            nested = _copy_sequence(item, tag)
            if nested is not None:
                yield nested
        elif vr in TEXT_VRS:
            value = value_field(item, tag) or b""
            if len(value) <= LONGEST_VALUE:
                yield raw_element(tag, value)


def _item(body: bytes) -> bytes:
    return ITEM + struct.pack("<L", len(body)) + body
