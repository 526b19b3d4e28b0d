"""Read the content tree of a Structured Report, to show it as a PACS does (PS3.3 C.17.3).

The values are those of the object and nothing else: names and codes, numbers with their units,
texts, references. A tree that is larger or deeper than a report of Lobar's ever is, is not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.config import IGNORE
from pydicom.uid import UID

from service.dicom.element_walker import ITEM
from service.dicom.output_elements import UnreadableOutputError, read_elements

LARGEST_BYTES: Final = 1 << 20  # a report has some 20,000
MOST_ITEMS: Final = 2000  # content items; a report has some 40
DEEPEST: Final = 24  # items within items

_CHARACTER_SET: Final = 0x00080005
_CONTENT_DATE, _CONTENT_TIME = 0x00080023, 0x00080033
_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00081150, 0x00081155  # of a reference
_CODE_VALUE, _CODING_SCHEME, _CODE_MEANING = 0x00080100, 0x00080102, 0x00080104
_LONG_CODE_VALUE: Final = 0x00080119
_REFERENCED_SOP: Final = 0x00081199
_UNITS: Final = 0x004008EA
_RELATIONSHIP, _VALUE_TYPE, _CONCEPT_NAME = 0x0040A010, 0x0040A040, 0x0040A043
_MEASURED_VALUE, _NUMERIC_VALUE, _CONCEPT_CODE = 0x0040A300, 0x0040A30A, 0x0040A168
_COMPLETION, _VERIFICATION, _CONTENT = 0x0040A491, 0x0040A493, 0x0040A730
_REFERENCED_ITEM: Final = 0x0040DB73
_GRAPHIC_DATA, _GRAPHIC_TYPE = 0x00700022, 0x00700023
_TEXTS: Final = {
    "TEXT": 0x0040A160,
    "PNAME": 0x0040A123,
    "UIDREF": 0x0040A124,
    "DATETIME": 0x0040A120,
    "DATE": 0x0040A121,
    "TIME": 0x0040A122,
}
_REFERENCES: Final = frozenset({"IMAGE", "COMPOSITE", "WAVEFORM"})
_FLOAT_BYTES, _LONG_BYTES = 4, 4

Node: TypeAlias = "dict[int, bytes | list[Node]]"
"""A data set or item: the value of each element by its tag, undecoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentItem:
    """One content item; blank where the object says nothing."""

    number: str  # its place in the tree, as references by identifier name it: 1.4.1
    relationship: str  # to its parent: CONTAINS, HAS OBS CONTEXT …
    value_type: str  # CONTAINER, CODE, NUM …; blank for a reference to another item
    name: str
    value: str
    children: "tuple[ContentItem, ...]" = ()

    @property
    def is_container(self) -> bool:
        """Whether it is a heading over others."""
        return self.value_type == "CONTAINER"


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredReport:
    """What a Structured Report says."""

    sop_instance_uid: str
    content_date: str  # as DICOM writes it
    content_time: str
    completion: str  # COMPLETE or PARTIAL
    verification: str  # UNVERIFIED or VERIFIED
    root: ContentItem


def read_structured_report(path: Path) -> StructuredReport:
    """Read a Structured Report of the outbox.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableOutputError: it is no Structured Report, or larger than any of Lobar's.
    """
    node = read_tree(path)
    reader = _Reader(_encodings(node))
    return StructuredReport(
        sop_instance_uid=reader.text(node, 0x00080018),
        content_date=reader.text(node, _CONTENT_DATE),
        content_time=reader.text(node, _CONTENT_TIME),
        completion=reader.text(node, _COMPLETION),
        verification=reader.text(node, _VERIFICATION),
        root=reader.item(node, "1"),
    )


def read_tree(path: Path) -> Node:
    """Read the elements of a Structured Report of the outbox, undecoded.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableOutputError: it is no Structured Report, or larger than any of Lobar's.
    """
    node = _nested(read_elements(path, largest=LARGEST_BYTES, deepest=DEEPEST))
    if _VALUE_TYPE not in node:
        raise UnreadableOutputError("The output is not a Structured Report.")
    return node


def _nested(found: Iterator[tuple[int, int, bytes]]) -> Node:
    """Put the elements of a data set into one mapping for each item."""
    root: Node = {}
    levels: dict[int, Node] = {0: root}
    latest: dict[int, int] = {}  # tag by depth: the sequence that an item one deeper belongs to
    for depth, tag, value in found:
        if tag != ITEM:
            levels[depth][tag] = value
            latest[depth] = tag
            continue
        if depth - 1 not in latest:
            raise UnreadableOutputError("The output has an item outside a sequence.")
        parent, sequence = levels[depth - 1], latest[depth - 1]
        items = parent[sequence]
        if isinstance(items, bytes):
            items = parent[sequence] = []
        levels[depth + 1] = {}
        items.append(levels[depth + 1])
    return root


def _encodings(node: Node) -> list[str]:
    value = node.get(_CHARACTER_SET, b"")
    terms = value.decode("ascii", "replace").split("\\") if isinstance(value, bytes) else []
    try:
        return list(convert_encodings([term.strip("\0 ") for term in terms]))
    except Exception:  # noqa: BLE001 -- pydicom raises anything at a term that it does not know
        return ["iso8859"]


class _Reader:
    """Reads content items in the character set of their report."""

    def __init__(self, encodings: list[str]) -> None:
        self._encodings = encodings
        self._items = 0

    def item(self, node: Node, number: str) -> ContentItem:
        """Read a content item and those below it.

        Raises:
            UnreadableOutputError: there are more than `MOST_ITEMS`.
        """
        self._items += 1
        if self._items > MOST_ITEMS:
            raise UnreadableOutputError(f"The report has more than {MOST_ITEMS:,} content items.")
        value_type = self.text(node, _VALUE_TYPE)
        return ContentItem(
            number=number,
            relationship=self.text(node, _RELATIONSHIP),
            value_type=value_type,
            name=self._meaning(node, _CONCEPT_NAME),
            value=self._value(node, value_type),
            children=tuple(
                self.item(child, f"{number}.{place}")
                for place, child in enumerate(items_of(node, _CONTENT), start=1)
            ),
        )

    def text(self, node: Node, tag: int) -> str:
        """Return the text of an element, blank where it is missing."""
        value = node.get(tag, b"")
        if not isinstance(value, bytes):
            return ""
        try:
            decoded = decode_bytes(value, self._encodings, set())
        except Exception:  # noqa: BLE001 -- as above, at bytes that are not of the character set
            decoded = value.decode("ascii", "replace")
        return decoded.rstrip("\0 ").strip()

    def _value(self, node: Node, value_type: str) -> str:
        if _REFERENCED_ITEM in node:
            return f"see {_identifier(node[_REFERENCED_ITEM])}"
        if value_type in _TEXTS:
            return self.text(node, _TEXTS[value_type])
        if value_type in _REFERENCES:
            return "; ".join(map(self._reference, items_of(node, _REFERENCED_SOP)))
        read = {"CODE": self._code, "NUM": self._number, "SCOORD": self._coordinates}
        return read[value_type](node) if value_type in read else ""

    def _meaning(self, node: Node, tag: int) -> str:
        return next((self.text(code, _CODE_MEANING) for code in items_of(node, tag)), "")

    def _code(self, node: Node) -> str:
        for code in items_of(node, _CONCEPT_CODE):
            value = self.text(code, _CODE_VALUE) or self.text(code, _LONG_CODE_VALUE)
            scheme = self.text(code, _CODING_SCHEME)
            return f"{self.text(code, _CODE_MEANING)} ({value}, {scheme})"
        return ""

    def _number(self, node: Node) -> str:
        for measured in items_of(node, _MEASURED_VALUE):
            number = self.text(measured, _NUMERIC_VALUE)
            return f"{number} {self._unit(measured)}".strip()
        return "no value"

    def _unit(self, measured: Node) -> str:
        for unit in items_of(measured, _UNITS):
            symbol = self.text(unit, _CODE_VALUE)
            is_symbol = self.text(unit, _CODING_SCHEME) == "UCUM" and "{" not in symbol
            return symbol if is_symbol else self.text(unit, _CODE_MEANING)
        return ""

    def _reference(self, referenced: Node) -> str:
        # pydicom would warn of an invalid one, and quote it
        sop_class = UID(self.text(referenced, _SOP_CLASS_UID), validation_mode=IGNORE).name
        return f"{sop_class}, {self.text(referenced, _SOP_INSTANCE_UID)}"

    def _coordinates(self, node: Node) -> str:
        data = node.get(_GRAPHIC_DATA, b"")
        points = len(data) // (2 * _FLOAT_BYTES) if isinstance(data, bytes) else 0
        return f"{self.text(node, _GRAPHIC_TYPE)}, {points} points".strip(", ")


def items_of(node: Node, tag: int) -> list[Node]:
    """Return the items of a sequence; none where it is missing."""
    value = node.get(tag, b"")
    return value if isinstance(value, list) else []


def _identifier(value: bytes | list[Node]) -> str:
    """Format a reference by identifier (PS3.3 C.17.3.2.5) as the numbers of this tree are."""
    if not isinstance(value, bytes):
        return ""
    places = range(0, len(value) - len(value) % _LONG_BYTES, _LONG_BYTES)
    return ".".join(str(int.from_bytes(value[at : at + _LONG_BYTES], "little")) for at in places)
