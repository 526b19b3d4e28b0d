"""The matrix of sources and conclusions for which every output must be valid.

{CR, DX, SC} x {as it should be, MONOCHROME1, compressed, odd headers} x {seven character sets} x
{Type 2 attributes as they should be, missing, wrong} x {five conclusions}: 1,260 cases. The
ordinary run takes a pairwise selection, in which any two properties meet in at least one case;
the full run takes all of them.
"""

import dataclasses
import functools
import itertools
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from allpairspy import AllPairs
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000, ExplicitVRLittleEndian
from synthetic.report_sources import MODEL, element, item, predicted, received, values

from service.domain.reasons import Reason
from workers.prediction import Conclusion, Finding, NotAnalysed, Region
from workers.reporting.header import TYPE_2

KINDS: Final = ("CR", "DX", "SC")
CHARACTER_SETS: Final = {  # as the issue has them, and which names of `report_sources` are in each
    "ISO_IR 6": "ISO_IR 6",
    "ISO_IR 100": "Latin",
    "ISO_IR 192": "UTF-8",
    "ISO_IR 144": "Cyrillic",
    "ISO 2022 IR 87": "Japanese",
    "ISO 2022 IR 149": "Korean",
    "GB18030": "Chinese",
}
REGION: Final = Region(top=0.25, left=0.125, bottom=0.5, right=0.375)
CONCLUSIONS: Final[dict[str, Conclusion]] = {
    "present": predicted(Finding.PRESENT),
    "present, in a region": dataclasses.replace(predicted(Finding.PRESENT), region=REGION),
    "absent": predicted(Finding.ABSENT),
    "indeterminate": predicted(Finding.INDETERMINATE),
    "not analysed": NotAnalysed(reason=Reason.NOT_CHEST, model=MODEL),
}
REQUEST: Final = item(
    element("AccessionNumber", b"A-4711"),
    element("RequestedProcedureID", b"RP-1"),
    element("RequestedProcedureDescription", b"Thorax"),
    element("ScheduledProcedureStepID", b"SPS-1"),
)
VARIANTS: Final[dict[str, dict[str, bytes | None]]] = {
    "as it should be": {"RequestAttributesSequence": REQUEST},
    "MONOCHROME1": {"PhotometricInterpretation": b"MONOCHROME1", "PixelSpacing": b"0.14\\0.14"},
    "compressed": {
        "LossyImageCompression": b"01",
        "BurnedInAnnotation": b"NO",
        "TimezoneOffsetFromUTC": b"+0530",
    },
    "odd": {  # what an accepted header may well hold: none of it may reach the report as it is
        "Modality": None,
        "Rows": struct.pack("<H", 0),
        "PatientOrientation": b"upright",
        "ImagerPixelSpacing": b"0\\wide",
        "PixelSpacing": b"0.1",
        "TimezoneOffsetFromUTC": b"local",
        "BodyPartExamined": b"Thorax!",
        "BurnedInAnnotation": b"MAYBE",
        "RequestAttributesSequence": b"\xfe\xff\x00\xe0\xff\xff\x00\x00",
    },
}
WRONG: Final = {
    "PatientSex": b"X",
    "PatientBirthDate": b"1970-01-02",
    "StudyDate": b"yesterday",
    "StudyTime": b"noon",
    "AccessionNumber": b"A" * 90,
}
TYPE_2_STATES: Final[dict[str, dict[str, bytes | None]]] = {
    "complete": {},
    "missing": dict.fromkeys(TYPE_2),
    "wrong": dict(WRONG),
}


class Selection(StrEnum):
    """Which cases of the matrix a test takes."""

    PAIRWISE = "pairwise"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One source of the matrix, and the name of what is concluded of it."""

    kind: str
    variant: str
    character_set: str
    type_2: str
    conclusion: str

    @property
    def header(self) -> dict[str, bytes]:
        """The value fields of the source's header, by keyword."""
        header = values(self.kind, CHARACTER_SETS[self.character_set])
        for keyword, value in (VARIANTS[self.variant] | TYPE_2_STATES[self.type_2]).items():
            if value is None:
                header.pop(keyword, None)
            else:
                header[keyword] = value
        return header

    @property
    def source(self) -> Dataset:
        """The header as the infer worker has it."""
        syntax = JPEG2000 if self.variant == "compressed" else ExplicitVRLittleEndian
        return received(self.header, syntax)

    def __str__(self) -> str:
        return f"{self.kind}, {self.variant}, {self.character_set}, Type 2 {self.type_2}"


PROPERTIES: Final[dict[str, tuple[str, ...]]] = {
    "kind": KINDS,
    "variant": tuple(VARIANTS),
    "character_set": tuple(CHARACTER_SETS),
    "type_2": tuple(TYPE_2_STATES),
    "conclusion": tuple(CONCLUSIONS),
}


@functools.cache
def matrix(selection: Selection) -> tuple[Case, ...]:
    """Return the cases of a selection; the pairwise one is the same in every run."""
    rows = (
        AllPairs(list(PROPERTIES.values()))
        if selection is Selection.PAIRWISE
        else itertools.product(*PROPERTIES.values())
    )
    return tuple(Case(**dict(zip(PROPERTIES, row, strict=True))) for row in rows)


def cases(selection: Selection, kind: str, conclusion: str) -> list[Case]:
    """Return the cases of a selection that have this kind and conclusion: 84 in the whole one."""
    return [
        case for case in matrix(selection) if (case.kind, case.conclusion) == (kind, conclusion)
    ]
