import struct
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from service.dicom.storage_commitment import (
    ACTION_STATUSES,
    EVENT_STATUSES,
    LONGEST_DATA_SET,
    MOST_INSTANCES,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    InvalidError,
    Message,
    Request,
    Result,
    action_information,
    event_information,
    new_transaction_uid,
    read_request,
    read_result,
)
from service.domain.delivery import Reference

CR = "1.2.840.10008.5.1.4.1.1.1"
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)
A, B = Reference(CR, "1.2.3"), Reference(CR, "1.2.34")
UIDS = st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,5}){1,6}", fullmatch=True)
REFERENCES = st.builds(Reference, UIDS, UIDS)


def message(encoded: bytes, *, type_id: int | None = 1, syntax: str = EXPLICIT) -> Message:
    return Message(
        sop_class_uid=STORAGE_COMMITMENT,
        sop_instance_uid=WELL_KNOWN_INSTANCE,
        type_id=type_id,
        encoded=encoded,
        transfer_syntax_uid=syntax,
    )


def written(dataset: Dataset, syntax: str, *, undefined_length: bool = False) -> bytes:
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = undefined_length
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined_length
    encoded = encode(dataset, syntax == IMPLICIT, is_little_endian=True)
    assert encoded is not None
    return encoded


def status_of(read: Callable[[Message], object], given: Message) -> int:
    with pytest.raises(InvalidError) as raised:
        read(given)
    return raised.value.status


@given(
    instances=st.lists(REFERENCES, min_size=1, max_size=5, unique=True),
    syntax=st.sampled_from([EXPLICIT, IMPLICIT]),
    undefined_length=st.booleans(),
)
def test_a_request_is_read_as_it_was_written(
    instances: list[Reference], *, syntax: str, undefined_length: bool
) -> None:
    request = Request(transaction_uid=new_transaction_uid(), instances=tuple(instances))
    encoded = written(action_information(request), syntax, undefined_length=undefined_length)
    assert read_request(message(encoded, syntax=syntax)) == request


@given(
    committed=st.sets(REFERENCES, max_size=4),
    failed=st.dictionaries(REFERENCES, st.integers(0, 0xFFFF), max_size=4),
    syntax=st.sampled_from([EXPLICIT, IMPLICIT]),
    undefined_length=st.booleans(),
)
def test_a_result_is_read_as_it_was_written(
    committed: set[Reference], failed: dict[Reference, int], *, syntax: str, undefined_length: bool
) -> None:
    committed -= failed.keys()
    result = Result(transaction_uid="1.2.3", committed=committed, failed=failed)
    assert result.event_type == (2 if failed else 1)
    encoded = written(event_information(result), syntax, undefined_length=undefined_length)
    read = read_result(message(encoded, type_id=result.event_type, syntax=syntax))
    assert (read.committed, dict(read.failed)) == (committed, failed)


@given(st.binary(max_size=400), st.sampled_from([EXPLICIT, IMPLICIT]))
def test_any_bytes_are_read_or_answered_with_a_status_that_is_documented(
    encoded: bytes, syntax: str
) -> None:
    for read, statuses in ((read_request, ACTION_STATUSES), (read_result, EVENT_STATUSES)):
        try:
            read(message(encoded, syntax=syntax))
        except InvalidError as exc:
            assert exc.status in statuses  # noqa: PT017 -- it need not be raised


def test_what_is_in_the_way_is_gone_past() -> None:
    dataset = action_information(Request(transaction_uid="1.2.3", instances=(A,)))
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "9.9.9"
    nested = Dataset()
    nested.ReferencedSOPSequence = [inner]
    dataset.ReferencedSOPSequence[0].PurposeOfReferenceCodeSequence = [nested]
    dataset.ReferencedStudySequence = [inner]
    dataset.StorageMediaFileSetID = "A"
    for syntax in (EXPLICIT, IMPLICIT):
        for undefined_length in (True, False):
            if syntax == IMPLICIT and not undefined_length:
                continue  # only a dictionary could tell those sequences from text
            encoded = written(dataset, syntax, undefined_length=undefined_length)
            assert read_request(message(encoded, syntax=syntax)).instances == (A,)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"sop_class_uid": "1.2.840.10008.1.1"}, 0x0118),
        ({"sop_class_uid": ""}, 0x0118),
        ({"sop_instance_uid": "1.2.3"}, 0x0112),
        ({"type_id": None}, 0x0123),
        ({"type_id": 2}, 0x0123),
        ({"encoded": b""}, 0x0115),
        ({"encoded": b"nonsense"}, 0x0110),
        ({"encoded": bytes(LONGEST_DATA_SET + 1)}, 0x0213),
    ],
)
def test_a_request_for_something_else_is_answered_with_what_is_wrong(
    changes: dict[str, object], status: int
) -> None:
    encoded = written(
        action_information(Request(transaction_uid="1.2.3", instances=(A,))), EXPLICIT
    )
    fields = {name: getattr(message(encoded), name) for name in Message.__slots__}
    assert status_of(read_request, Message(**{**fields, **changes})) == status


def implicit(number: int, value: str) -> bytes:
    padded = value.encode() + b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0x0008, number, len(padded)) + padded


def by_hand(transaction_uid: str, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Encode a request that pydicom would not encode without a warning."""
    item = implicit(0x1150, sop_class_uid) + implicit(0x1155, sop_instance_uid)
    items = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    head = struct.pack("<HHL", 0x0008, 0x1199, len(items))
    return implicit(0x1195, transaction_uid) + head + items


@pytest.mark.parametrize("uid", ["", "not a uid", "1" * 65, "1.2.3\\4.5.6", "../../etc"])
def test_a_transaction_or_instance_without_a_valid_uid_is_refused(uid: str) -> None:
    valid = ["1.2.3", CR, "1.2.34"]
    assert read_request(message(by_hand(*valid), syntax=IMPLICIT)).instances == (B,)
    for place in range(3):
        uids = [*valid[:place], uid, *valid[place + 1 :]]
        assert status_of(read_request, message(by_hand(*uids), syntax=IMPLICIT)) == 0x0115


def test_a_request_for_nothing_is_refused() -> None:
    dataset = action_information(Request(transaction_uid="1.2.3", instances=()))
    assert status_of(read_request, message(written(dataset, EXPLICIT))) == 0x0115


def test_a_request_for_too_much_is_refused() -> None:
    many = tuple(Reference(CR, f"1.2.{number}") for number in range(MOST_INSTANCES + 1))
    for instances, is_taken in ((many[1:], True), (many, False)):
        dataset = action_information(Request(transaction_uid="1.2.3", instances=instances))
        given = message(written(dataset, EXPLICIT))
        if is_taken:
            assert len(read_request(given).instances) == MOST_INSTANCES
        else:
            assert status_of(read_request, given) == 0x0213


def test_an_event_of_another_type_is_refused() -> None:
    encoded = written(event_information(Result(transaction_uid="1.2.3", committed=[A])), EXPLICIT)
    assert status_of(read_result, message(encoded, type_id=3)) == 0x0113


def test_what_is_said_to_be_both_counts_as_failed() -> None:
    result = Result(transaction_uid="1.2.3", committed=[A, B], failed={A: 0x0112})
    read = read_result(message(written(event_information(result), EXPLICIT), type_id=2))
    assert (set(read.committed), dict(read.failed)) == ({B}, {A: 0x0112})


@pytest.mark.parametrize(
    "piece",
    [
        struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF),  # items in items
        struct.pack("<HHL", 0x0008, 0x1199, 0xFFFFFFFF)
        + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF),  # sequences in sequences
        struct.pack("<HHL", 0x0008, 0x0001, 0),
    ],
)
def test_what_is_made_to_take_long_does_not(piece: bytes) -> None:
    encoded = (piece * (LONGEST_DATA_SET // len(piece)))[:LONGEST_DATA_SET]
    began = time.process_time()
    assert status_of(read_request, message(encoded, syntax=IMPLICIT)) in {0x0110, 0x0115}
    assert time.process_time() - began < 5


def test_transaction_uids_cannot_be_guessed() -> None:
    uids = {new_transaction_uid() for _ in range(100)}
    assert len(uids) == 100
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)
