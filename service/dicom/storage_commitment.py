"""Read and build the data sets of Storage Commitment, with its statuses (PS3.4 annex J). Pure.

A peer's data set is walked, not decoded: bounded, without recursion, and without a warning that
quotes it. The data sets built here are a few elements, so pydicom encodes them.
"""

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from service.dicom.byte_sources import UndecodableError
from service.dicom.element_walker import ITEM
from service.dicom.sequence_reader import elements
from service.dicom.statuses import (
    CLASS_INSTANCE_CONFLICT,
    DUPLICATE_TRANSACTION,
    INVALID_ARGUMENT_VALUE,
    NO_SUCH_ACTION,
    NO_SUCH_EVENT_TYPE,
    NO_SUCH_INSTANCE,
    NO_SUCH_SOP_CLASS,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
)
from service.dicom.uids import is_uid
from service.domain.delivery import Reference

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"  # the Push Model SOP class, PS3.4 J.3
WELL_KNOWN_INSTANCE: Final = "1.2.840.10008.1.20.1.1"  # PS3.4 J.3.5
SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)

REQUEST_COMMITMENT: Final = 1  # action type, PS3.4 table J.3-1
ALL_COMMITTED: Final = 1  # event types, PS3.4 table J.3-2
SOME_FAILED: Final = 2

LONGEST_DATA_SET: Final = 1 << 20  # bytes
MOST_INSTANCES: Final = 5_000  # in one request; a study of radiographs has a few

ACTION_STATUSES: Final[Mapping[int, str]] = MappingProxyType(
    {
        SUCCESS: "The request is on the disk; the result follows.",
        PROCESSING_FAILURE: "The data set cannot be read, or the ledger does not answer.",
        NO_SUCH_INSTANCE: "The SOP Instance UID is not the well-known one.",
        INVALID_ARGUMENT_VALUE: "No valid Transaction UID, or no valid reference to an instance.",
        NO_SUCH_SOP_CLASS: "The SOP Class UID is not that of the presentation context.",
        NO_SUCH_ACTION: "The action type is not 1.",
        DUPLICATE_TRANSACTION: "The Transaction UID is in use for other instances.",
        RESOURCE_LIMITATION: "Too many bytes, instances, or requests without an answer yet.",
    }
)
"""The statuses of N-ACTION responses (PS3.7 10.1.4.1.10; 0131 from PS3.3 C.14.1.1)."""

EVENT_STATUSES: Final[Mapping[int, str]] = MappingProxyType(
    {
        SUCCESS: "The result is in the ledger, or of a transaction that is not awaited.",
        PROCESSING_FAILURE: ACTION_STATUSES[PROCESSING_FAILURE],
        NO_SUCH_INSTANCE: ACTION_STATUSES[NO_SUCH_INSTANCE],
        NO_SUCH_EVENT_TYPE: "The event type is neither 1 nor 2.",
        INVALID_ARGUMENT_VALUE: ACTION_STATUSES[INVALID_ARGUMENT_VALUE],
        NO_SUCH_SOP_CLASS: ACTION_STATUSES[NO_SUCH_SOP_CLASS],
        RESOURCE_LIMITATION: "Too many bytes or instances.",
    }
)
"""The statuses of N-EVENT-REPORT responses (PS3.7 10.1.1.1.8)."""

FAILURE_REASONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        NO_SUCH_INSTANCE: "The instance was not received here, or its bytes are gone.",
        CLASS_INSTANCE_CONFLICT: "It was received with another SOP Class UID.",
    }
)
"""Why an instance is not committed: Failure Reason (0008,1197), PS3.3 C.14.1.1."""

_SOP_CLASS_UID: Final = 0x00081150
_SOP_INSTANCE_UID: Final = 0x00081155
_TRANSACTION_UID: Final = 0x00081195
_FAILURE_REASON: Final = 0x00081197
_FAILED: Final = 0x00081198
_REFERENCED: Final = 0x00081199
_SEQUENCES: Final = frozenset({_FAILED, _REFERENCED})

_Items = list[dict[int, bytes]]


class InvalidError(Exception):
    """A peer's request or result is invalid; `status` is that of the response."""

    def __init__(self, status: int) -> None:
        super().__init__(f"0x{status:04X}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An N-ACTION or N-EVENT-REPORT as received, not yet validated."""

    sop_class_uid: str  # requested or affected; blank where it was not stated
    sop_instance_uid: str
    type_id: int | None  # of the action or the event
    encoded: bytes  # the data set
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to commit to instances: Action Information."""

    transaction_uid: str
    instances: tuple[Reference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a request: Event Information."""

    transaction_uid: str
    committed: Collection[Reference] = ()
    failed: Mapping[Reference, int] = field(default_factory=dict)  # Failure Reason by instance

    @property
    def event_type(self) -> int:
        """The event type of this result (PS3.4 table J.3-2)."""
        return SOME_FAILED if self.failed else ALL_COMMITTED


def new_transaction_uid() -> str:
    """Generate a Transaction UID that cannot be guessed: anyone who knows it could answer."""
    return str(generate_uid(prefix=None))


def read_request(message: Message) -> Request:
    """Read the request of an N-ACTION (PS3.4 table J.3-1).

    Raises:
        InvalidError: it is invalid.
    """
    _require_well_known(message)
    if message.type_id != REQUEST_COMMITMENT:
        raise InvalidError(NO_SUCH_ACTION)
    transaction_uid, sequences = _read(message)
    instances = tuple(dict.fromkeys(map(_reference, sequences.get(_REFERENCED, []))))
    if not instances:
        raise InvalidError(INVALID_ARGUMENT_VALUE)
    return Request(transaction_uid=transaction_uid, instances=instances)


def read_result(message: Message) -> Result:
    """Read the result of an N-EVENT-REPORT (PS3.4 table J.3-2); an instance in both lists failed.

    Raises:
        InvalidError: it is invalid.
    """
    _require_well_known(message)
    if message.type_id not in {ALL_COMMITTED, SOME_FAILED}:
        raise InvalidError(NO_SUCH_EVENT_TYPE)
    transaction_uid, sequences = _read(message)
    failed = {_reference(item): _failure(item) for item in sequences.get(_FAILED, [])}
    committed = {_reference(item) for item in sequences.get(_REFERENCED, [])}
    return Result(
        transaction_uid=transaction_uid, committed=committed - failed.keys(), failed=failed
    )


def action_information(request: Request) -> Dataset:
    """Build the data set of a request."""
    dataset = Dataset()
    dataset.TransactionUID = request.transaction_uid
    dataset.ReferencedSOPSequence = _items(request.instances)
    return dataset


def event_information(result: Result) -> Dataset:
    """Build the data set of a result."""
    dataset = Dataset()
    dataset.TransactionUID = result.transaction_uid
    if result.failed:
        dataset.FailedSOPSequence = _items(result.failed)
        for item, reason in zip(dataset.FailedSOPSequence, result.failed.values(), strict=True):
            item.FailureReason = reason
    if result.committed:
        dataset.ReferencedSOPSequence = _items(result.committed)
    return dataset


def _require_well_known(message: Message) -> None:
    if message.sop_class_uid != STORAGE_COMMITMENT:
        raise InvalidError(NO_SUCH_SOP_CLASS)
    if message.sop_instance_uid != WELL_KNOWN_INSTANCE:
        raise InvalidError(NO_SUCH_INSTANCE)


def _read(message: Message) -> tuple[str, dict[int, _Items]]:
    """Read the Transaction UID and the items of both sequences."""
    if len(message.encoded) > LONGEST_DATA_SET:
        raise InvalidError(RESOURCE_LIMITATION)
    implicit = message.transfer_syntax_uid == ImplicitVRLittleEndian
    transaction_uid, sequences, items = "", dict[int, _Items](), _Items()
    try:
        for depth, tag, value in elements(message.encoded, implicit=implicit, sequences=_SEQUENCES):
            match depth:
                case 0:
                    items = sequences.setdefault(tag, []) if tag in _SEQUENCES else []
                    transaction_uid = _text(value) if tag == _TRANSACTION_UID else transaction_uid
                case 1 if tag == ITEM:
                    items.append({})
                case 2 if items:
                    items[-1][tag] = value
    except UndecodableError as exc:
        raise InvalidError(PROCESSING_FAILURE) from exc
    if not is_uid(transaction_uid):
        raise InvalidError(INVALID_ARGUMENT_VALUE)
    if sum(map(len, sequences.values())) > MOST_INSTANCES:
        raise InvalidError(RESOURCE_LIMITATION)
    return transaction_uid, sequences


def _reference(item: Mapping[int, bytes]) -> Reference:
    uids = [_text(item.get(tag, b"")) for tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID)]
    if not all(map(is_uid, uids)):
        raise InvalidError(INVALID_ARGUMENT_VALUE)
    return Reference(*uids)


def _failure(item: Mapping[int, bytes]) -> int:
    value = item.get(_FAILURE_REASON, b"")
    return (
        int(struct.unpack("<H", value)[0])
        if len(value) == struct.calcsize("<H")
        else PROCESSING_FAILURE
    )


def _text(value: bytes) -> str:
    return value.decode("ascii", errors="replace").rstrip("\0 ")


def _items(references: Iterable[Reference]) -> Sequence[Dataset]:
    items = []
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID = reference.sop_class_uid
        item.ReferencedSOPInstanceUID = reference.sop_instance_uid
        items.append(item)
    return items
