import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import ComputedRadiographyImageStorage, CTImageStorage

from service.dicom.statuses import REJECTION_STATUSES
from service.dicom.uids import identifier, is_uid
from service.domain.reasons import Reason
from service.receiving.acceptance import (
    IDENTIFIERS,
    RULES,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Accepted,
    Rejection,
    StoreCommand,
    review,
    review_command,
)

CR = str(ComputedRadiographyImageStorage)
COMMAND = StoreCommand(sop_class_uid=CR, sop_instance_uid="1.2.3.4")
NOTHING_SAID = StoreCommand(sop_class_uid="", sop_instance_uid="")
GOOD = {
    SOP_CLASS_UID: CR,
    SOP_INSTANCE_UID: "1.2.3.4",
    STUDY_INSTANCE_UID: "1.2.3",
    SERIES_INSTANCE_UID: "1.2.3.1",
}
NO_UIDS = ["../../etc/passwd", "1.2.3\\1.2.4", "1.2.x", ".1.2", "1.2.", "1..2", "1" * 65, "1.2 .3"]


def raw(tag: int, value: bytes | None, vr: str | None = "UI") -> RawDataElement:
    length = len(value or b"")
    return RawDataElement(BaseTag(tag), vr, length, value, 0, vr is None, is_little_endian=True)


def header_of(**changes: bytes | None) -> Dataset:
    """Build a header as the listener reads it: undecoded; None leaves an element out."""
    names = {"sop_class": SOP_CLASS_UID, "sop_instance": SOP_INSTANCE_UID}
    names |= {"study": STUDY_INSTANCE_UID, "series": SERIES_INSTANCE_UID}
    values: dict[int, bytes | None] = {tag: uid.encode() for tag, uid in GOOD.items()}
    values |= {names[name]: value for name, value in changes.items()}
    return Dataset({BaseTag(t): raw(t, v) for t, v in values.items() if v is not None})


def reason_of(header: Dataset, command: StoreCommand = COMMAND) -> Reason | None:
    conclusion = review(header, command)
    return conclusion.reason if isinstance(conclusion, Rejection) else None


def test_a_header_with_its_four_identifiers_is_accepted() -> None:
    assert review(header_of(), COMMAND) == Accepted(
        sop_class_uid=CR,
        sop_instance_uid="1.2.3.4",
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.1",
    )


def test_padding_is_no_part_of_an_identifier() -> None:
    assert reason_of(header_of(sop_instance=b"1.2.3.4\0", study=b"1.2.3 ")) is None


def test_a_component_that_begins_with_zero_is_let_pass_since_senders_have_such() -> None:
    assert reason_of(header_of(study=b"1.2.0345")) is None


def test_without_a_command_nothing_is_held_against_the_data_set() -> None:
    assert reason_of(header_of(), NOTHING_SAID) is None


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (Dataset(), Reason.EMPTY_DATA_SET),
        (header_of(sop_class=None), Reason.MISSING_IDENTIFIER),
        (header_of(sop_instance=None), Reason.MISSING_IDENTIFIER),
        (header_of(study=None), Reason.MISSING_IDENTIFIER),
        (header_of(series=None), Reason.MISSING_IDENTIFIER),
        (header_of(series=b""), Reason.MISSING_IDENTIFIER),
        (header_of(series=b"\0\0"), Reason.MISSING_IDENTIFIER),
        (header_of(sop_class=CTImageStorage.encode()), Reason.SOP_CLASS_MISMATCH),
        (header_of(sop_instance=b"1.2.3.5"), Reason.SOP_INSTANCE_MISMATCH),
        (header_of(study=b"1.2.3\xff"), Reason.INVALID_IDENTIFIER),
        *[(header_of(series=uid.encode()), Reason.INVALID_IDENTIFIER) for uid in NO_UIDS],
    ],
)
def test_each_fault_of_a_header_has_its_reason(header: Dataset, reason: Reason) -> None:
    assert reason_of(header) is reason


@pytest.mark.parametrize("vr", ["SQ", "OB", "LO", "PN"])
@pytest.mark.parametrize("tag", IDENTIFIERS)
def test_an_identifier_of_a_wrong_vr_is_a_rejection(tag: int, vr: str) -> None:
    header = header_of()
    wrong = raw(tag, GOOD[tag].encode(), vr)
    assert reason_of(Dataset({**header._dict, BaseTag(tag): wrong})) is Reason.INVALID_IDENTIFIER


def test_an_identifier_without_a_vr_is_read() -> None:
    header = Dataset({BaseTag(tag): raw(tag, GOOD[tag].encode(), None) for tag in IDENTIFIERS})
    assert reason_of(header) is None


@pytest.mark.parametrize("uid", NO_UIDS)
def test_what_could_be_a_path_or_is_too_long_is_no_uid(uid: str) -> None:
    assert not is_uid(uid)


def test_a_uid_of_64_characters_is_one_and_of_65_is_not() -> None:
    assert is_uid("1." + "2" * 62)
    assert not is_uid("1." + "2" * 63)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (COMMAND, None),
        (StoreCommand(sop_class_uid="", sop_instance_uid="1.2"), Reason.MISSING_IDENTIFIER),
        (StoreCommand(sop_class_uid=CR, sop_instance_uid=""), Reason.MISSING_IDENTIFIER),
        (StoreCommand(sop_class_uid=CR, sop_instance_uid="../x"), Reason.INVALID_IDENTIFIER),
        (
            StoreCommand(sop_class_uid=CTImageStorage, sop_instance_uid="1.2"),
            Reason.SOP_CLASS_MISMATCH,
        ),
    ],
)
def test_a_command_is_held_against_its_presentation_context(
    command: StoreCommand, reason: Reason | None
) -> None:
    rejection = review_command(command, CR)
    assert (rejection.reason if rejection else None) is reason


def test_every_rule_has_a_status_that_is_a_failure_of_the_standard() -> None:
    assert {reason for reason, _ in RULES} <= set(REJECTION_STATUSES)
    assert set(REJECTION_STATUSES.values()) == {0xA700, 0xA900, 0xC000, 0x0110}


TEXTS = st.binary(max_size=70).map(lambda value: value.decode("latin-1"))
VALUES = st.one_of(
    st.none(),
    st.binary(max_size=80),
    st.sampled_from([uid.encode() for uid in GOOD.values()]),
)
RAW_HEADERS = st.dictionaries(
    st.sampled_from([*IDENTIFIERS, 0x00080005, 0x00100010]),
    st.tuples(st.sampled_from(["UI", "UN", "SQ", "PN", "OW", "??", None]), VALUES),
)


@given(RAW_HEADERS)
def test_any_undecoded_header_gets_a_verdict(
    elements: dict[int, tuple[str | None, bytes | None]],
) -> None:
    header = Dataset({BaseTag(t): raw(t, value, vr) for t, (vr, value) in elements.items()})
    conclusion = review(header, COMMAND)
    if isinstance(conclusion, Accepted):
        assert all(is_uid(identifier(header, tag)) for tag in IDENTIFIERS)
    else:
        assert conclusion.status == REJECTION_STATUSES[conclusion.reason]


@given(
    st.dictionaries(
        st.sampled_from(IDENTIFIERS),
        st.tuples(
            st.sampled_from(["UI", "LO", "PN"]),
            st.one_of(TEXTS, st.lists(TEXTS, max_size=3)),
        ),
    )
)
def test_any_decoded_header_gets_a_verdict(
    elements: dict[int, tuple[str, str | list[str]]],
) -> None:
    header = Dataset()
    with warnings.catch_warnings(action="ignore"):
        for tag, (vr, value) in elements.items():
            header[tag] = DataElement(tag, vr, value)
    assert isinstance(review(header, COMMAND), Accepted | Rejection)


@given(TEXTS, TEXTS)
def test_any_command_gets_a_verdict(sop_class_uid: str, sop_instance_uid: str) -> None:
    command = StoreCommand(sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)
    conclusion = review_command(command, CR)
    assert conclusion is None or conclusion.status == 0xA900
