"""Headers of synthetic radiographs, byte for byte as a modality might send them."""

import struct
import warnings
from datetime import UTC, datetime
from io import BytesIO
from typing import Final

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from workers.prediction import Finding, Model, OperatingPoint, OtherAbnormality, Prediction

NOW: Final = datetime(2026, 5, 4, 23, 45, 6, tzinfo=UTC)

SOP_CLASSES: Final = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "DX for processing": DigitalXRayImageStorageForProcessing,
    "SC": SecondaryCaptureImageStorage,
}

BALANCED: Final = OperatingPoint(
    name="balanced", threshold=0.5, indeterminate_low=0.4, indeterminate_high=0.6
)
MODEL: Final = Model(
    name="lobar_pneumonia",
    version="1.2.3",
    weights_sha256="0123456789abcdef" * 4,
    calibrated=True,
    operating_point=BALANCED,
)
PROBABILITIES: Final = {
    Finding.PRESENT: 0.8732145,
    Finding.ABSENT: 0.0321,
    Finding.INDETERMINATE: 0.51,
}

# another point and other probabilities, so that a test can tell them from those of pneumonia
OTHER_BALANCED: Final = OperatingPoint(
    name="balanced", threshold=0.62, indeterminate_low=0.55, indeterminate_high=0.7
)
OTHER_PROBABILITIES: Final = {
    Finding.PRESENT: 0.9123456,
    Finding.ABSENT: 0.1456,
    Finding.INDETERMINATE: 0.654,
}

# Specific Character Set and names in it: PS3.5 annexes H, I and J have the multi-byte ones
NAMES: Final = {
    "default repertoire": (None, b"Doe^Jane"),
    "ISO_IR 6": (b"ISO_IR 6", b"Doe^Jane"),
    "Latin": (b"ISO_IR 100", "Müller^Jörg".encode("latin-1")),
    "Cyrillic": (b"ISO_IR 144", "Иванова^Анна".encode("iso8859-5")),
    "UTF-8": (b"ISO_IR 192", "Łuczak^Zoë=王^小东".encode()),
    "Japanese": (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    "Korean": (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
    ),
    "Chinese": (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030")),
    "one that nobody knows": (b"ISO_IR 999", b"\xff\xfe^\x80\x81"),
    "none, and bytes that need one": (None, b"M\xfcller^J\xf6rg"),
    "no term at all": (b"latin ?! one", b"M\xfcller"),
}


def predicted(
    finding: Finding = Finding.PRESENT, *, model: Model = MODEL, other: Finding | None = None
) -> Prediction:
    """Return a prediction with this finding, and this one of another abnormality."""
    return Prediction(
        finding=finding,
        probability=PROBABILITIES[finding],
        model=model,
        other=other_abnormality(other) if other else None,
    )


def other_abnormality(finding: Finding) -> OtherAbnormality:
    """Return another abnormality with this finding."""
    return OtherAbnormality(
        finding=finding,
        probability=OTHER_PROBABILITIES[finding],
        operating_point=OTHER_BALANCED,
    )


def element(keyword: str, value: bytes, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Encode a data element; its value may be invalid."""
    tag, vr = tag_for_keyword(keyword), dictionary_VR(keyword)
    assert tag is not None
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    value += b"\x00" * (len(value) % 2) if vr == "UI" else b" " * (len(value) % 2)
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if transfer_syntax == ImplicitVRLittleEndian:
        return head + struct.pack("<L", len(value)) + value
    if vr in {"SQ", "UT", "OB", "OW", "UN"}:
        return head + vr.encode() + struct.pack(f"{order}HL", 0, len(value)) + value
    return head + vr.encode() + struct.pack(f"{order}H", len(value)) + value


def item(*elements: bytes) -> bytes:
    """Encode a sequence item (little endian)."""
    body = b"".join(elements)
    return b"\xfe\xff\x00\xe0" + struct.pack("<L", len(body)) + body


def values(
    kind: str = "CR", names: str = "Latin", photometric: str = "MONOCHROME2"
) -> dict[str, bytes]:
    """Return the value fields of a plain header of this kind; numbers are little endian."""
    character_set, name = NAMES[names]
    header = {
        "SOPClassUID": SOP_CLASSES[kind].encode(),
        "SOPInstanceUID": b"1.2.826.0.1.3680043.8.498.1",
        "StudyDate": b"20260503",
        "StudyTime": b"101112.5",
        "AccessionNumber": b"A-4711",
        "Modality": {"SC": b"OT"}.get(kind, kind[:2].encode()),
        "ReferringPhysicianName": b"Referrer^Rita",
        "StudyDescription": b"Thorax pa",
        "PatientName": name,
        "PatientID": b"PID 0007",
        "PatientBirthDate": b"19700102",
        "PatientSex": b"F",
        "PatientAge": b"056Y",
        "BodyPartExamined": b"CHEST",
        "StudyInstanceUID": b"1.2.826.0.1.3680043.8.498.2",
        "SeriesInstanceUID": b"1.2.826.0.1.3680043.8.498.3",
        "StudyID": b"S1",
        "PhotometricInterpretation": photometric.encode(),
        "Rows": struct.pack("<H", 2500),
        "Columns": struct.pack("<H", 2048),
    }
    if character_set is not None:
        header["SpecificCharacterSet"] = character_set
    if kind != "SC":
        header["PatientOrientation"] = b"L\\F"
        header["ImagerPixelSpacing"] = b"0.143\\0.143"
    return header


def received(header: dict[str, bytes], transfer_syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """Read a header from bytes, its elements undecoded, as the infer worker does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about unknown character sets
        return dcmread(BytesIO(part10(header, transfer_syntax)))


def part10(header: dict[str, bytes], transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Encode a header as a DICOM file (PS3.10)."""
    swapped = dict(header)
    if transfer_syntax == ExplicitVRBigEndian:
        for keyword in ("Rows", "Columns"):
            swapped[keyword] = swapped[keyword][::-1]
    meta = b"".join(
        (
            element("MediaStorageSOPClassUID", header.get("SOPClassUID", b"1.2")),
            element("MediaStorageSOPInstanceUID", header.get("SOPInstanceUID", b"1.2")),
            element("TransferSyntaxUID", transfer_syntax.encode()),
        )
    )
    group_length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta))
    in_order = sorted(swapped.items(), key=lambda entry: tag_for_keyword(entry[0]) or 0)
    body = b"".join(element(keyword, value, transfer_syntax) for keyword, value in in_order)
    return bytes(128) + b"DICM" + group_length + meta + body


def radiograph(kind: str = "CR", *, names: str = "Latin", **changes: bytes | None) -> Dataset:
    """Read a plain header with these value fields changed; None leaves an element out."""
    header = values(kind, names)
    for keyword, value in changes.items():
        if value is None:
            header.pop(keyword, None)
        else:
            header[keyword] = value
    return received(header)


def value_fields(file: bytes) -> dict[int, bytes]:
    """Return the value fields of a DICOM file in explicit VR little endian, by tag."""
    assert file[128:132] == b"DICM"
    fields, position = {}, 132
    while position < len(file):
        group, number, vr = struct.unpack_from("<HH2s", file, position)
        if vr in {b"SQ", b"UT", b"OB", b"OW", b"UN"}:
            (length,) = struct.unpack_from("<L", file, position + 8)
            position += 12
        else:
            (length,) = struct.unpack_from("<H", file, position + 6)
            position += 8
        fields[group << 16 | number] = file[position : position + length]
        position += length
    return fields
