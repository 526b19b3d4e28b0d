"""What a hostile sender says on one connection: seeded, each a list of pieces of bytes."""

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from peers.raw_scu import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    associate_rq,
    command_set,
    data_set_bytes,
    p_data,
    pdu,
)
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from synthetic.mutations import chance, mutated
from synthetic.objects import make_cr

CR: Final = str(ComputedRadiographyImageStorage)
COMMITMENT: Final = "1.2.840.10008.1.20.1"
CONTEXTS: Final = (
    (CR, str(ExplicitVRLittleEndian)),
    (VERIFICATION, str(ImplicitVRLittleEndian)),
    (COMMITMENT, str(ImplicitVRLittleEndian)),
)
STORE, ECHO, ACTION = 1, 3, 5  # presentation context ids, in this order
_LONGEST: Final = 12  # PDUs of a conversation in an order of its own


@dataclass(frozen=True, slots=True)
class Conversation:
    """The bytes of one connection, piece by piece, and what was made wrong in them."""

    kind: str
    pieces: tuple[bytes, ...]


def conversation(seed: int, number: int) -> Conversation:
    """Return one conversation of a run; the same seed and number give the same one."""
    by = chance(seed, number)
    kind = by.choice(sorted(KINDS))
    return Conversation(kind, tuple(KINDS[kind](by)))


def usual_request() -> bytes:
    """Encode a usual A-ASSOCIATE-RQ."""
    return associate_rq(CONTEXTS, calling="FUZZ", called="LOBAR")


def store_messages(by: random.Random) -> tuple[bytes, bytes]:
    """Encode the command set and the data set of a usual C-STORE of a small instance."""
    dataset = make_cr(rows=8, columns=8)
    uid = UID(f"2.25.{by.getrandbits(100)}")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    for name in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(dataset, name, f"2.25.{by.getrandbits(100)}")
    command = command_set(CR, 0x0001, 1, has_data_set=True, sop_instance=uid)
    return command, data_set_bytes(dataset)


def _association(by: random.Random) -> Sequence[bytes]:
    """Mutate the request for an association."""
    return [mutated(usual_request(), by), _release()]


def _command(by: random.Random) -> Sequence[bytes]:
    """Mutate the command set of a C-STORE, C-ECHO, N-ACTION or another message."""
    command, data_set = store_messages(by)
    match by.randrange(4):
        case 0:
            context, sent = STORE, command
        case 1:
            context, sent = ECHO, command_set(VERIFICATION, 0x0030, 1, has_data_set=False)
        case 2:
            context, sent = ACTION, command_set(COMMITMENT, 0x0130, 1, has_data_set=True)
        case _:
            field = by.randrange(0x10000)
            context, sent = STORE, command_set(CR, field, 1, has_data_set=bool(by.randrange(2)))
    return [
        usual_request(),
        _fragment(context, mutated(sent, by), is_command=True),
        _fragment(context, data_set, is_command=False),
        _release(),
    ]


def _data_set(by: random.Random) -> Sequence[bytes]:
    """Mutate the data set of a C-STORE."""
    command, data_set = store_messages(by)
    return [
        usual_request(),
        _fragment(STORE, command, is_command=True),
        _fragment(STORE, mutated(data_set, by, most=8), is_command=False),
        _release(),
    ]


def _fragments(by: random.Random) -> Sequence[bytes]:
    """Mutate the P-DATA-TF PDUs themselves: lengths, contexts, message control headers."""
    command, data_set = store_messages(by)
    pieces = [
        _fragment(STORE, command, is_command=True),
        _fragment(STORE, data_set, is_command=False),
    ]
    at = by.randrange(len(pieces))
    pieces[at] = mutated(pieces[at], by)
    return [usual_request(), *pieces, _release()]


def _order(by: random.Random) -> Sequence[bytes]:
    """Send valid PDUs in an order that no state allows (PS3.8 table 9-10), some of them cut."""
    command, data_set = store_messages(by)
    known = [
        usual_request(),
        _fragment(STORE, command, is_command=True),
        _fragment(STORE, data_set, is_command=False),
        _fragment(ECHO, command_set(VERIFICATION, 0x0030, 1, has_data_set=False), is_command=True),
        pdu(ABORT, b"\0" * 4),
        _release(),
        pdu(RELEASE_RP, b"\0" * 4),
        pdu(ASSOCIATE_AC, usual_request()[6:]),
        pdu(ASSOCIATE_RJ, b"\0\1\1\1"),
        pdu(by.randrange(256), by.randbytes(by.randrange(64))),
        struct.pack(">BxL", by.choice((ASSOCIATE_RQ, P_DATA, RELEASE_RQ)), by.getrandbits(32)),
    ]
    said = [by.choice(known) for _ in range(by.randint(1, _LONGEST))]
    if by.randrange(2):
        said.insert(0, usual_request())
    if by.randrange(3) == 0:
        said[-1] = said[-1][: by.randint(0, len(said[-1]))]
    return said


def _noise(by: random.Random) -> Sequence[bytes]:
    """Send bytes that are no DICOM: TLS, HTTP, and any."""
    return [
        by.choice(
            (
                b"GET / HTTP/1.1\r\nHost: lobar\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + by.randbytes(64),
                by.randbytes(by.randint(0, 2048)),
            )
        )
    ]


def _fragment(context_id: int, message: bytes, *, is_command: bool) -> bytes:
    return p_data([(context_id, is_command, True, message)])


def _release() -> bytes:
    return pdu(RELEASE_RQ, b"\0" * 4)


KINDS: Final[dict[str, Callable[[random.Random], Sequence[bytes]]]] = {
    "association": _association,
    "command": _command,
    "data set": _data_set,
    "fragments": _fragments,
    "order": _order,
    "noise": _noise,
}
