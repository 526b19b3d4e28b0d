"""A-ASSOCIATE PDUs as odd peers send them, decoded by pynetdicom after they were rewritten."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers.raw_scu import APPLICATION_CONTEXT, item, pdu
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from service.dicom.association_pdus import MalformedError, refusal, strict_form

CR, EXPLICIT = b"1.2.840.10008.5.1.4.1.1.1", b"1.2.840.10008.1.2.1"
LENGTH = item(0x51, struct.pack(">L", 16384))


def context(number: int, abstract: bytes = CR, *syntaxes: bytes) -> bytes:
    inner = item(0x30, abstract) + b"".join(item(0x40, each) for each in syntaxes)
    return item(0x20, bytes([number, 0, 0, 0]) + inner)


def request(
    items: bytes | None = None,
    *,
    user: bytes = LENGTH,
    calling: bytes = b"CT",
    called: bytes = b"LOBAR",
    version: int = 1,
) -> bytes:
    head = struct.pack(">Hxx16s16s32x", version, called.ljust(16), calling.ljust(16))
    body = context(1, CR, EXPLICIT) if items is None else items
    return pdu(1, head + item(0x10, APPLICATION_CONTEXT.encode()) + body + item(0x50, user))


def decoded(encoded: bytes) -> A_ASSOCIATE_RQ:
    made = A_ASSOCIATE_RQ()
    made.decode(strict_form(encoded))
    made.to_primitive()
    return made


@pytest.mark.parametrize(
    ("calling", "read"),
    [
        (b"FUJI\0 ", "FUJI"),
        (b"FUJI\0xyz", "FUJI"),
        (b"FUJI" + b"\0" * 12, "FUJI"),
        (b"  FUJI", "FUJI"),
        (b"ROOM\\1", "ROOM?1"),
        (b"ROOM\t1", "ROOM?1"),
        (b"R\xd6NTGEN", "R?NTGEN"),
        (b"ct-room 1", "ct-room 1"),
    ],
)
def test_an_ae_title_ends_at_nul_and_has_no_odd_character(calling: bytes, read: str) -> None:
    assert decoded(request(calling=calling)).calling_ae_title == read


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"calling": b""}, "calling-ae-title-blank"),
        ({"calling": b"\0" * 16}, "calling-ae-title-blank"),
        ({"called": b"\0FUJI"}, "called-ae-title-blank"),
        ({"version": 2}, "protocol-version-not-supported"),
    ],
)
def test_what_is_refused_has_a_reason(changed: dict[str, bytes], reason: str) -> None:
    why = refusal(request(**changed))  # type: ignore[arg-type]  # of several kinds
    assert why is not None
    assert why.reason == reason


@pytest.mark.parametrize(
    "user",
    [
        b"",
        LENGTH + item(0x99, b"abcd"),
        LENGTH + item(0x5B, b"\0\1\2"),
        LENGTH + item(0x52, b"1.2.3\0"),
        LENGTH + item(0x52, b"1." + b"2" * 63),
        LENGTH + item(0x55, b"VERSION_OF_20_CHARSX"),
        LENGTH + item(0x55, b"V\xe9\0\0"),
        LENGTH + item(0x58, b"\x09\1\0\3bob\0\0"),
        LENGTH + item(0x56, b"\0\xc8" + CR + b"\1"),
        LENGTH + item(0x53, b"\0"),
        item(0x51, b"\0"),
        LENGTH + item(0x54, struct.pack(">H", 26) + CR + b"\0\1\7") * 2,
    ],
)
def test_odd_user_information_is_cleaned_or_left_out(user: bytes) -> None:
    made = decoded(request(user=user))
    assert made.user_information is not None
    assert made.user_information.maximum_length is not None
    name = made.user_information.implementation_version_name
    assert name is None or len(name) <= 16


@pytest.mark.parametrize("length", [0, 1, 13, 0xFFFFFFFF])
def test_a_maximum_length_is_one_that_can_be_kept_to(length: int) -> None:
    made = decoded(request(user=item(0x51, struct.pack(">L", length))))
    assert made.user_information is not None
    assert 14 <= (made.user_information.maximum_length or 0) <= 128 * 1024


def test_of_contexts_with_one_id_the_first_counts() -> None:
    made = decoded(request(context(1, CR, EXPLICIT) + context(1, CR, b"1.2.840.10008.1.2")))
    assert [each.transfer_syntax for each in made.presentation_context] == [[EXPLICIT.decode()]]


@pytest.mark.parametrize("abstract", [b"1." + b"3" * 80, b"1.2.abc", b"", CR + b" ", CR + b"\0\0"])
@pytest.mark.parametrize("syntaxes", [(), (b"",), (EXPLICIT + b" ",), (b"\xff",)])
def test_a_context_with_odd_uids_hides_no_other(abstract: bytes, syntaxes: tuple[bytes]) -> None:
    made = decoded(request(context(3, abstract, *syntaxes) + context(1, CR, EXPLICIT)))
    assert [each.context_id for each in made.presentation_context] == [3, 1]
    assert made.presentation_context[1].abstract_syntax == CR.decode()


@pytest.mark.parametrize(
    "sub", [b"", item(0x40, b""), item(0x40, b"\0\0"), item(0x40, EXPLICIT + b"\0")]
)
@pytest.mark.parametrize("result", [0, 1, 4, 200])
def test_an_odd_answer_to_a_context_is_read(sub: bytes, result: int) -> None:
    answer = item(0x21, bytes([1, 0, result, 0]) + sub) + item(0x55, b"x")
    head = struct.pack(">Hxx64x", 1)
    made = A_ASSOCIATE_AC()
    made.decode(strict_form(pdu(2, head + answer)))
    made.to_primitive()
    is_accepted = result == 0 and EXPLICIT in sub
    assert (made.presentation_context[0].result == 0) is is_accepted


@given(st.binary(max_size=200))
def test_any_bytes_are_rewritten_or_refused(body: bytes) -> None:
    for kind in (1, 2):
        try:
            clean = strict_form(pdu(kind, request()[6:74] + body))
        except MalformedError:
            continue
        made = A_ASSOCIATE_RQ() if kind == 1 else A_ASSOCIATE_AC()
        made.decode(clean)
