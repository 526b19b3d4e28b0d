"""Compare an object as a PACS keeps it with the object as it was sent."""

from io import BytesIO

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import Tag

_MOST_NAMED = 8


def read_part10(encoded: bytes) -> Dataset:
    """Read a DICOM file, with or without its preamble."""
    return dcmread(BytesIO(encoded), force=True)


def changed_attributes(sent: Dataset, kept: Dataset) -> list[str]:
    """List the top-level attributes that were changed, added or removed, by keyword.

    Group lengths and padding are left out: they say nothing (PS3.5 7.2, 6.2).
    """
    tags = {tag for dataset in (sent, kept) for tag in dataset.keys() if tag & 0xFFFF}  # noqa: SIM118
    return sorted(
        keyword_for_tag(tag) or str(Tag(tag))
        for tag in tags
        if _value(sent, tag) != _value(kept, tag)
    )


def in_words(changed: list[str]) -> str:
    """Return the names of changed attributes in one line."""
    if not changed:
        return "every attribute as it was sent"
    more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
    return f"changed, added or removed: {', '.join(changed[:_MOST_NAMED])}{more}"


def _value(dataset: Dataset, tag: int) -> object:
    if tag not in dataset:
        return None
    element = dataset[tag]
    return [each.to_json_dict() for each in element.value] if element.VR == "SQ" else element.value
