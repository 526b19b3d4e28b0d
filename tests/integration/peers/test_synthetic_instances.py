"""Tests that synthetic instances are valid, and the same in every transfer syntax."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from synthetic.codecs import LOSSY_METHODS, picture_digest
from synthetic.objects import Wanted, encode, make_cr, make_dx, make_sc
from synthetic.pictures import chest

from service.dicom.sop_classes import TRANSFER_SYNTAXES

EIGHT_BITS = {JPEGBaseline8Bit, JPEGExtended12Bit}
KNOWN_TO_DCIODVFY = [
    uid
    for uid in TRANSFER_SYNTAXES
    if uid not in {HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL, DeflatedExplicitVRLittleEndian}
]
LOSSY_ERROR = 0.02  # of the range of grey levels


def maker_of(transfer_syntax_uid: str) -> Callable[[], Dataset]:
    return make_sc if transfer_syntax_uid in EIGHT_BITS else make_cr


@pytest.mark.dciodvfy
@pytest.mark.parametrize(
    "make",
    [
        make_cr,
        make_dx,
        lambda: make_dx(for_processing=True),
        make_sc,
        lambda: make_sc(photometric="RGB"),
        lambda: make_cr(photometric="MONOCHROME1", bits_stored=15),
    ],
    ids=["CR", "DX for presentation", "DX for processing", "SC", "SC in colour", "CR inverted"],
)
def test_instances_are_valid(
    make: Callable[[], Dataset], dciodvfy: Callable[[Path], str], tmp_path: Path
) -> None:
    file = tmp_path / "instance.dcm"
    make().save_as(file, enforce_file_format=True)

    said = dciodvfy(file).splitlines()

    assert any(line.endswith(("Image", "ForPresentation", "ForProcessing")) for line in said)
    assert [line for line in said if line.startswith("Error")] == []


@pytest.mark.dciodvfy
@pytest.mark.parametrize("syntax", KNOWN_TO_DCIODVFY, ids=lambda uid: UID(uid).keyword)
def test_instances_are_valid_in_every_syntax(
    syntax: str, dciodvfy: Callable[[Path], str], tmp_path: Path
) -> None:
    file = tmp_path / "instance.dcm"
    encode(maker_of(syntax)(), syntax).save_as(file, enforce_file_format=True)

    assert [line for line in dciodvfy(file).splitlines() if line.startswith("Error")] == []


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda uid: UID(uid).keyword)
def test_pixels_come_back_from_every_syntax(syntax: str, tmp_path: Path) -> None:
    source = maker_of(syntax)()
    file = tmp_path / "instance.dcm"
    encode(source, syntax).save_as(file, enforce_file_format=True)

    read = pydicom.dcmread(file)

    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.SOPInstanceUID == source.SOPInstanceUID
    difference = read.pixel_array.astype(int) - source.pixel_array.astype(int)
    limit = LOSSY_ERROR * 2**source.BitsStored if syntax in LOSSY_METHODS else 0
    assert np.abs(difference).max() <= limit
    assert read.LossyImageCompression == ("01" if syntax in LOSSY_METHODS else "00")


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless])
@pytest.mark.parametrize(
    "wanted",
    [
        {"signed": True},
        {"bits_stored": 10},
        {"bits_stored": 16, "photometric": "MONOCHROME1"},
        {"bits_stored": 8, "rows": 100, "columns": 77},
    ],
    ids=str,
)
def test_other_pixels_come_back_from_lossless_syntaxes(syntax: str, wanted: Wanted) -> None:
    source = make_cr(**wanted)
    assert np.array_equal(encode(source, syntax).pixel_array, source.pixel_array)


@pytest.mark.dcmtk
def test_twelve_bits_in_jpeg_extended_are_twelve_bits() -> None:
    frame = next(
        pydicom.encaps.generate_frames(
            encode(make_cr(), JPEGExtended12Bit).PixelData, number_of_frames=1
        )
    )
    start_of_frame = frame.index(b"\xff\xc1")
    assert frame[start_of_frame + 4] == 12


def test_a_syntax_that_cannot_hold_the_pixels_says_so() -> None:
    with pytest.raises(ValueError, match="does not hold these pixels"):
        encode(make_cr(bits_stored=12), JPEGBaseline8Bit)
    with pytest.raises(ValueError, match="default picture only"):
        encode(make_cr(bits_stored=16), HTJ2KLossless)


def test_the_kept_codestreams_are_those_of_the_default_picture() -> None:
    assert hashlib.sha256(make_cr().PixelData).hexdigest() == picture_digest()
    assert make_dx().PixelData == make_cr().PixelData


def test_an_inverted_picture_shows_the_same_chest() -> None:
    bright_bone = chest(384, 320, 12)
    assert np.array_equal(make_cr().pixel_array, bright_bone)
    assert np.array_equal(make_cr(photometric="MONOCHROME1").pixel_array, 4095 - bright_bone)
    assert np.array_equal(make_cr(signed=True).pixel_array, bright_bone - 2048)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 144", "\N{CYRILLIC CAPITAL LETTER EL}\N{CYRILLIC SMALL LETTER YU}"),
        ("GB18030", "王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
    ],
)
def test_names_survive_in_their_character_set(
    charset: str | list[str], name: str, tmp_path: Path
) -> None:
    file = tmp_path / "instance.dcm"
    make_cr(charset=charset, patient_name=name).save_as(file, enforce_file_format=True)
    assert str(pydicom.dcmread(file).PatientName) == name
