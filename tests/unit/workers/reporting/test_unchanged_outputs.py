"""The outputs of a fixed set of sources keep their bytes: one SHA-256 for each object.

The digests in `unchanged_outputs.json` were first written by the code as it was before its modules
were moved into packages. A change that is meant to alter an object, a new version of Lobar (it is
in every object and enters the UIDs) or of a library named in the file (highdicom writes the content
tree, Pillow draws, reportlab writes the PDF) needs new ones. Review what changed, then write them:

    PYTHONPATH=.:tests .venv/bin/python tests/unit/workers/reporting/test_unchanged_outputs.py

Two things depend on the machine and are kept out. Streams of a PDF are compared decompressed,
because zlib may be another one. Pillow sets text with Raqm where the system has FriBidi; an overlay
is compared byte for byte only there, and everywhere else without its strip of text.
"""

import base64
import dataclasses
import hashlib
import json
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from copy import copy
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import features
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from synthetic.report_sources import (
    BALANCED,
    MODEL,
    NAMES,
    NOW,
    SOP_CLASSES,
    element,
    item,
    predicted,
    received,
    values,
)

from service.domain.reasons import LEFT_ALONE, NOT_ANALYSED, Reason
from service.domain.routing import OutputKind
from workers.prediction import Conclusion, Finding, NotAnalysed, Region
from workers.reporting.output import Output, as_comprehensive
from workers.reporting.outputs import make_outputs
from workers.reporting.picture import Pixels
from workers.reporting.uids import FIRST, OutputIdentity, Predecessor

RECORD: Final = Path(__file__).with_name("unchanged_outputs.json")
LIBRARIES: Final = ("lobar", "highdicom", "numpy", "pillow", "pydicom", "reportlab")

REGION: Final = Region(top=0.25, left=0.125, bottom=0.5, right=0.375)
PRESENT: Final = dataclasses.replace(predicted(), region=REGION)
NOT_CHEST: Final = NotAnalysed(reason=Reason.NOT_CHEST, model=MODEL)
WITHOUT_PIXELS: Final = frozenset({Reason.NO_PIXELS, Reason.PIXELS_UNREADABLE})
CONCLUSIONS: Final[dict[str, Conclusion]] = {
    "present": predicted(),
    "absent": predicted(Finding.ABSENT),
    "indeterminate": predicted(Finding.INDETERMINATE),
    "indeterminate in a region": dataclasses.replace(
        predicted(Finding.INDETERMINATE), region=REGION
    ),
    "absent, another abnormality present": predicted(Finding.ABSENT, other=Finding.PRESENT),
    "present in a region, another abnormality indeterminate, of a population": dataclasses.replace(
        predicted(other=Finding.INDETERMINATE), region=REGION, population="children"
    ),
    "uncalibrated": predicted(model=dataclasses.replace(MODEL, calibrated=False)),
    "without a band": predicted(
        model=dataclasses.replace(
            MODEL,
            name="Modèle à bande vide",
            operating_point=dataclasses.replace(
                BALANCED, name="sensitive", indeterminate_low=0.5, indeterminate_high=0.5
            ),
        )
    ),
    **{
        str(reason): NotAnalysed(reason=reason, model=MODEL)
        for reason in NOT_ANALYSED
        if reason not in LEFT_ALONE
    },
}

PREDECESSOR: Final = Predecessor(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
    sop_instance_uid="2.25.1234",
    series_instance_uid="2.25.5678",
)
IDENTITIES: Final = {
    "correction": OutputIdentity(digest="c0ffee" * 10 + "cafe"),
    "revision": OutputIdentity(predecessor=PREDECESSOR),
    "revision of a correction": OutputIdentity(digest="f" * 64, predecessor=PREDECESSOR),
}

TABLE: Final = item(
    element("LUTDescriptor", struct.pack("<3H", 4, 0, 12)),
    element("LUTData", struct.pack("<4H", 0, 100, 2000, 4095)),
    element("ModalityLUTType", b"US"),
)
REQUEST: Final = item(
    element("AccessionNumber", b"A-4711"),
    element("RequestedProcedureID", b"RP-1"),
    element("RequestedProcedureDescription", b"Thorax"),
    element("ScheduledProcedureStepID", b"SPS-1"),
)
CHANGES: Final[dict[str, dict[str, bytes | None]]] = {  # of a DX header; None leaves one out
    "requested": {"RequestAttributesSequence": REQUEST, "TimezoneOffsetFromUTC": b"+0530"},
    "with a window": {
        "WindowCenter": b"2048\\1000",
        "WindowWidth": b"4096\\500",
        "RescaleSlope": b"2",
        "RescaleIntercept": b"-1024",
        "RescaleType": b"US",
        "PresentationLUTShape": b"INVERSE",
    },
    "with tables": {"ModalityLUTSequence": TABLE, "VOILUTSequence": TABLE},
    "with shutters": {
        "ShutterShape": b"RECTANGULAR\\CIRCULAR",
        "ShutterLeftVerticalEdge": b"10",
        "ShutterRightVerticalEdge": b"2000",
        "ShutterUpperHorizontalEdge": b"20",
        "ShutterLowerHorizontalEdge": b"2400",
        "CenterOfCircularShutter": b"1250\\1024",
        "RadiusOfCircularShutter": b"1000",
    },
    "with pixel spacing": {"PixelSpacing": b"0.14\\0.15", "BurnedInAnnotation": b"YES"},
    "with an aspect ratio": {"ImagerPixelSpacing": None, "PixelAspectRatio": b"2\\1"},
    "in colour": {"PhotometricInterpretation": b"RGB", "LossyImageCompression": b"01"},
    "without rows": {"Rows": None, "Modality": None, "PatientOrientation": b"upright"},
    "without Type 2": dict.fromkeys(
        ("PatientName", "PatientID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber")
    ),
    "with wrong values": {
        "PatientSex": b"X",
        "PatientBirthDate": b"1970-01-02",
        "StudyDate": b"yesterday",
        "ImagerPixelSpacing": b"0\\wide",
        "BodyPartExamined": b"Thorax!",
        "RequestAttributesSequence": b"\xfe\xff\x00\xe0\xff\xff\x00\x00",
    },
}
TRANSFER_SYNTAXES: Final = {
    "implicit": ImplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "JPEG": JPEGBaseline8Bit,
    "JPEG 2000": JPEG2000,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A source with its pixels, what is concluded of it, and which outputs of it these are."""

    source: Dataset
    conclusion: Conclusion = PRESENT
    identity: OutputIdentity = FIRST
    rows: int = 125  # of the pixels

    @property
    def pixels(self) -> Pixels | None:
        """The displayed brightness, rows x columns; None where pixels cannot be read."""
        if getattr(self.conclusion, "reason", None) in WITHOUT_PIXELS:
            return None
        columns = self.rows * 4 // 5
        ramp = np.linspace(-0.1, 1.1, self.rows * columns, dtype=np.float32)
        ramp[:3] = np.nan
        return ramp.reshape(self.rows, columns)


def sources() -> Iterator[tuple[str, Dataset]]:
    """Yield each kind of header that an accepted instance may have, by name."""
    for kind in SOP_CLASSES:
        for photometric in ("MONOCHROME1", "MONOCHROME2"):
            header = values(kind, photometric=photometric)
            yield f"{kind}, {photometric}", received(header)
    for names in NAMES:
        yield f"DX, {names}", received(values("DX", names))
    for name, syntax in TRANSFER_SYNTAXES.items():
        yield f"DX, {name}", received(values("DX"), syntax)
    for name, changes in CHANGES.items():
        changed: dict[str, bytes | None] = {**values("DX"), **changes}
        header = {keyword: value for keyword, value in changed.items() if value is not None}
        yield f"DX, {name}", received(header)


def cases() -> Iterator[tuple[str, Case]]:
    """Yield the fixed set of cases by name."""
    for name, source in sources():
        yield f"{name}: present in a region", Case(source=source)
        yield f"{name}: {Reason.NOT_CHEST}", Case(source=source, conclusion=NOT_CHEST)
    plain = received(values("CR"))
    for name, conclusion in CONCLUSIONS.items():
        yield f"plain: {name}", Case(source=plain, conclusion=conclusion)
    for name, identity in IDENTITIES.items():
        yield f"{name}: present in a region", Case(source=plain, identity=identity)
        refused = Case(source=plain, conclusion=NOT_CHEST, identity=identity)
        yield f"{name}: {Reason.NOT_CHEST}", refused
    yield "large pixels", Case(source=plain, rows=2000)


CASES: Final = dict(cases())


def outputs_of(case: Case) -> dict[str, Output]:
    """Build every output of a case, and the Comprehensive SR of its report."""
    made = {
        str(output.kind): output
        for output in make_outputs(
            case.source,
            case.pixels,
            case.conclusion,
            kinds=tuple(OutputKind),
            now=NOW,
            identity=case.identity,
        )
    }
    return made | {"comprehensive": as_comprehensive(made["sr"])}


def digests_of(case: Case) -> dict[str, str]:
    """Return the SHA-256 of each output of a case, as hexadecimal digits."""
    contents: dict[str, bytes] = {}
    for name, output in outputs_of(case).items():
        match output.kind:
            case OutputKind.PDF:
                contents["pdf, decompressed"] = without_compression(output)
            case OutputKind.OVERLAY:
                contents["overlay without its strip"] = without_strip(output, case.pixels)
                if features.check("raqm"):
                    contents["overlay"] = output.encode()
            case _:
                contents[name] = output.encode()
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def without(output: Output, *keywords: str) -> bytes:
    """Encode an output but for these elements."""
    rest = copy(output.dataset)
    for keyword in keywords:
        del rest[keyword]
    return dataclasses.replace(output, dataset=rest).encode()


def without_strip(output: Output, pixels: Pixels | None) -> bytes:
    """Return an overlay's elements and the samples of the radiograph below its strip of text."""
    dataset = output.dataset
    samples = np.frombuffer(dataset.PixelData, np.uint8)[: dataset.Rows * dataset.Columns * 3]
    picture = samples.reshape(dataset.Rows, dataset.Columns, 3)
    strip = dataset.Rows if pixels is None else 64 + dataset.Columns // 16
    return without(output, "PixelData") + picture[strip:].tobytes()


def without_compression(output: Output) -> bytes:
    """Return an Encapsulated PDF with the page's streams decompressed, and no offsets in it."""
    dataset = output.dataset
    page = dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength]
    objects, _, _ = page.partition(b"\nxref\n")  # then come offsets and a digest
    decoded = re.sub(rb"stream\r?\n(.*?)endstream", decompressed, objects, flags=re.DOTALL)
    readable = re.sub(rb"/Length \d+", b"", decoded)
    return without(output, "EncapsulatedDocument", "EncapsulatedDocumentLength") + readable


def decompressed(stream: re.Match[bytes]) -> bytes:
    """Decode a stream that is Flate in ASCII85 (ISO 32000-1 7.4), or leave it as it is."""
    try:
        return zlib.decompress(base64.a85decode(stream[1].strip(), adobe=False))
    except (ValueError, zlib.error):
        return stream[1]


def versions() -> dict[str, str]:
    return {library: version(library) for library in LIBRARIES}


@pytest.fixture(scope="module")
def recorded() -> dict[str, dict[str, str]]:
    digests = json.loads(RECORD.read_text())["digests"]
    assert isinstance(digests, dict)
    return digests


def test_every_case_is_recorded(recorded: dict[str, dict[str, str]]) -> None:
    assert recorded.keys() == CASES.keys()
    assert sum(map(len, recorded.values())) > 400


@pytest.mark.parametrize("name", CASES)
def test_the_outputs_have_the_recorded_bytes(
    name: str, recorded: dict[str, dict[str, str]]
) -> None:
    expected = dict(recorded[name])
    if not features.check("raqm"):
        del expected["overlay"]
    made_with = json.loads(RECORD.read_text())["made_with"]
    changed = {each for each, number in versions().items() if made_with[each] != number}
    assert digests_of(CASES[name]) == expected, f"versions other than recorded: {changed or None}"


if __name__ == "__main__":
    if not features.check("raqm"):
        sys.exit("install FriBidi first: without it the overlays' text is set differently")
    digests = {name: digests_of(case) for name, case in CASES.items()}
    record = {"made_with": versions(), "digests": digests}
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
