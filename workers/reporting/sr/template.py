"""Content trees of measurement reports, each built by highdicom once and then filled.

highdicom needs ten milliseconds for a tree of which little differs between radiographs: two UIDs,
the size and spacing of the image, the probabilities and the coordinates. A template is the tree
of a stand-in source and prediction, encoded, in which the values of the stand-ins are left open. A
report has the same bytes with and without it, which the tests compare over the report matrix.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, groupby
from typing import Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DS

from workers.prediction import Prediction, Region
from workers.reporting.quiet_pydicom import NO_VALIDATION
from workers.reporting.raw_elements import ITEM, encode_elements, raw_element, tag_of
from workers.reporting.source import Source
from workers.reporting.sr.measurement_group import coordinates_of
from workers.reporting.sr.measurement_report import build_measurement_report, spacing_of
from workers.reporting.wording import other_probability_text, percent, probability_text

_MOST_TEMPLATES: Final = 64  # each has some ten kilobytes
_LONG: Final = frozenset(
    {"SQ", "UT"}
)  # have two bytes reserved, and a length of four (PS3.5 7.1.2)
_STAND_IN_UID: Final = "2.25.316548715649872315649"
_STAND_IN_TRACKING_UID: Final = "2.25.798431649871326549873"
_STAND_IN_REGION: Final = Region(top=0.11, left=0.23, bottom=0.37, right=0.59)
_STAND_IN_SIDES: Final = 30011, 30013
_STAND_IN_SPACING: Final = 0.61372, 0.73961
_STAND_IN_PROBABILITIES: Final = 0.4318, 0.6743

_Hole = tuple[str, str]  # value representation and name of a value that differs
_Value = Callable[[Mapping[_Hole, bytes]], bytes]


def build_from_template(
    source: Source, prediction: Prediction, *, tracking_uid: str
) -> Iterator[RawDataElement]:
    """Yield the elements of the root of `build_measurement_report`, from a template of their kind.

    Args:
        source: What was analysed.
        prediction: What was predicted for it.
        tracking_uid: Of the finding.
    """
    template = _template(_like(source), _alike(prediction))
    values = _values(source, prediction, tracking_uid)
    for tag, encoded in template:
        yield raw_element(tag_of(tag), encoded(values))


def _like(source: Source) -> Source:
    """Return a stand-in for a source: what decides on the form of the tree is the same."""
    rows, columns = _STAND_IN_SIDES
    has_spacing = spacing_of(source) is not None
    return replace(
        source,
        sop_instance_uid=_STAND_IN_UID,
        study_instance_uid="",
        series_instance_uid="",
        rows=rows if source.rows is not None else None,
        columns=columns if source.columns is not None else None,
        pixel_spacing=_STAND_IN_SPACING if has_spacing else None,
        imager_pixel_spacing=None,
        body_part="",
        burned_in_annotation="",
        lossy=False,
        time_zone=None,
    )


def _alike(prediction: Prediction) -> Prediction:
    """Return a stand-in for a prediction, likewise."""
    probability, of_other = _STAND_IN_PROBABILITIES
    other = prediction.other
    return replace(
        prediction,
        probability=probability,
        region=_STAND_IN_REGION if prediction.region else None,
        other=replace(other, probability=of_other) if other else None,
        attention=None,
    )


def _values(source: Source, prediction: Prediction, tracking_uid: str) -> dict[_Hole, bytes]:
    """Return the values that differ between reports of one template, encoded."""
    uids = {"source": source.sop_instance_uid, "finding": tracking_uid}
    found = {("UI", name): _padded(uid.encode(), b"\0") for name, uid in uids.items()}
    for name, number in _numbers(source, prediction):
        found["DS", name] = _padded(str(DS(number, auto_format=True)).encode(), b" ")
        if isinstance(number, float):
            found["FD", name] = struct.pack("<d", number)
    found["UT", "probability"] = _padded(probability_text(prediction).encode(), b" ")
    if prediction.other is not None:
        text = other_probability_text(prediction.other)
        found["UT", "other probability"] = _padded(text.encode(), b" ")
    if corners := coordinates_of(source, prediction):
        edges = list(chain.from_iterable(corners))
        found["FL", "coordinates"] = struct.pack(f"<{len(edges)}f", *edges)
    return found


def _numbers(source: Source, prediction: Prediction) -> Iterator[tuple[str, float]]:
    if source.rows is not None and source.columns is not None:
        yield "rows", source.rows
        yield "columns", source.columns
    if (spacing := spacing_of(source)) is not None:
        yield from zip(("between rows", "between columns"), spacing, strict=True)
    yield "probability", float(percent(prediction.probability))
    if prediction.other is not None:
        yield "other probability", float(percent(prediction.other.probability))


def _padded(value: bytes, by: bytes) -> bytes:
    return value + by * (len(value) % 2)


@lru_cache(_MOST_TEMPLATES)
def _template(source: Source, prediction: Prediction) -> Sequence[tuple[str, _Value]]:
    """Build the template of stand-ins: the keyword and the value of each element of the root."""
    values = _values(source, prediction, _STAND_IN_TRACKING_UID)
    holes = _Holes({(vr, value): (vr, name) for (vr, name), value in values.items()})
    with NO_VALIDATION:
        root = build_measurement_report(source, prediction, tracking_uid=_STAND_IN_TRACKING_UID)
        template = [(element.keyword, _joined(holes.value(element))) for element in _sorted(root)]
    if missing := values.keys() - holes.found:
        raise RuntimeError(f"highdicom writes no {', '.join(map(str, missing))}")
    return template


def _sorted(dataset: Dataset) -> list[DataElement]:
    return [dataset[tag] for tag in sorted(dataset.keys())]


@dataclass(frozen=True, slots=True)
class _Open:
    """A value, or the items of a sequence, parts of which differ; with what precedes its length."""

    head: bytes
    size: str  # of the length, as `struct` names it
    parts: Sequence["_Part"]

    def __call__(self, values: Mapping[_Hole, bytes]) -> bytes:
        value = _join(self.parts, values)
        return self.head + struct.pack(self.size, len(value)) + value


_Part = bytes | _Hole | _Open


def _join(parts: Sequence[_Part], values: Mapping[_Hole, bytes]) -> bytes:
    return b"".join(
        part
        if isinstance(part, bytes)
        else part(values)
        if isinstance(part, _Open)
        else values[part]
        for part in parts
    )


def _joined(parts: Sequence[_Part]) -> _Value:
    return lambda values: _join(parts, values)


class _Holes:
    """Finds the values of stand-ins in a data set, and leaves them open."""

    def __init__(self, names: Mapping[tuple[str, bytes], _Hole]) -> None:
        self._names = names  # by value representation and encoded value
        self.found: set[_Hole] = set()

    def value(self, element: DataElement) -> list[_Part]:
        """Return the parts of the value of an element."""
        if element.VR == "SQ":
            return _merged(chain.from_iterable(map(self._item, element.value)))
        encoded = encode_elements([element])
        value = encoded[12 if element.VR in _LONG else 8 :]
        hole = self._names.get((element.VR, value))
        if hole is None:
            return [value]
        self.found.add(hole)
        return [hole]

    def _item(self, item: Dataset) -> Iterator[_Part]:
        parts = _merged(chain.from_iterable(map(self._element, _sorted(item))))
        if _is_constant(parts):
            body = b"".join(part for part in parts if isinstance(part, bytes))
            yield ITEM + struct.pack("<L", len(body)) + body
        else:
            yield _Open(ITEM, "<L", parts)

    def _element(self, element: DataElement) -> Iterator[_Part]:
        parts = self.value(element)
        if _is_constant(parts):
            yield encode_elements([element])
            return
        tag = struct.pack("<HH", element.tag.group, element.tag.element) + element.VR.encode()
        is_long = element.VR in _LONG
        yield _Open(tag + bytes(2) if is_long else tag, "<L" if is_long else "<H", parts)


def _is_constant(parts: Iterable[_Part]) -> bool:
    return all(isinstance(part, bytes) for part in parts)


def _merged(parts: Iterable[_Part]) -> list[_Part]:
    """Join constant parts that follow one another."""
    merged: list[_Part] = []
    for is_constant, group in groupby(parts, lambda part: isinstance(part, bytes)):
        if is_constant:
            merged.append(b"".join(part for part in group if isinstance(part, bytes)))
        else:
            merged.extend(group)
    return merged
