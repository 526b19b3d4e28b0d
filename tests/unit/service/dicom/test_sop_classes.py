"""Tests of storage classes by name, and of the order of transfer syntaxes."""

import pydicom.uid
import pytest
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from service.dicom import sop_classes
from service.dicom.sop_classes import DEFAULT_SOP_CLASSES, TRANSFER_SYNTAXES, sop_class_uid

CR = "1.2.840.10008.5.1.4.1.1.1"


@pytest.mark.parametrize("name", ["ComputedRadiographyImageStorage", CR, f"{CR} "])
def test_a_storage_class_is_known_by_its_keyword_and_its_uid(name: str) -> None:
    assert sop_class_uid(name) == CR
    assert type(sop_class_uid(name)) is str


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "CR", "1.2.3", "not a uid", "computedradiographyimagestorage"),
        "1.2.840.10008.1.1",  # Verification: a SOP class, but nothing is stored by it
        "1.2.840.10008.1.2.1",  # a transfer syntax
        "StudyRootQueryRetrieveInformationModelFind",
        "UID",  # names that pydicom.uid has for other things
        "AllTransferSyntaxes",
        "generate_uid",
        "__name__",
    ],
)
def test_what_is_no_storage_class_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not the UID or keyword of a storage SOP class") as e:
        sop_class_uid(name)
    assert repr(name) in str(e.value)


def test_each_name_is_that_of_pydicom() -> None:
    ours = {name: uid for name, uid in vars(sop_classes).items() if not name.startswith("_")}
    named = {name: uid for name, uid in ours.items() if hasattr(pydicom.uid, name)}
    assert {"ComputedRadiographyImageStorage", "HTJ2KLosslessRPCL"} <= named.keys()
    assert named == {name: getattr(pydicom.uid, name) for name in named}
    uids = {UID(uid).keyword: uid for uid in DEFAULT_SOP_CLASSES}
    assert {name: sop_class_uid(name) for name in uids} == uids


def test_the_tables_hold_what_their_names_say() -> None:
    assert [sop_class_uid(uid) for uid in DEFAULT_SOP_CLASSES] == list(DEFAULT_SOP_CLASSES)
    assert all(UID(uid).is_transfer_syntax for uid in TRANSFER_SYNTAXES)
    assert len(set(TRANSFER_SYNTAXES)) == len(TRANSFER_SYNTAXES)


def test_what_costs_least_to_read_is_preferred_and_big_endian_is_not_taken() -> None:
    assert TRANSFER_SYNTAXES[0] == ExplicitVRLittleEndian
    assert ExplicitVRBigEndian not in TRANSFER_SYNTAXES
    compressed = [UID(uid).is_compressed and not UID(uid).is_deflated for uid in TRANSFER_SYNTAXES]
    assert compressed[:2] == [False, False]
