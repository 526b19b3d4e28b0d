"""The listener as SCP: what it accepts and how it responds (PS3.2 annex A, 4.2)."""

from collections.abc import Iterator

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from service.conformance.tables import Lines, heading, hexadecimal, name_and_uid, paragraph, table
from service.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.dicom.sop_classes import VERIFICATION, transfer_syntaxes
from service.dicom.statuses import REJECTION_STATUSES
from service.dicom.storage_commitment import (
    ACTION_STATUSES,
    EVENT_STATUSES,
    FAILURE_REASONS,
    LONGEST_DATA_SET,
    MOST_INSTANCES,
    STORAGE_COMMITMENT,
    SYNTAXES,
)
from service.domain.reasons import EXPLANATIONS, NOT_ANALYSED
from service.settings import DicomSettings, Settings
from service.storage.ledger.work.commitment_requests import MOST_OPEN

IMPLEMENTATION = (
    ("Application context", "`1.2.840.10008.3.1.1.1`"),
    ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
    ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
    ("Asynchronous operations", "not supported: one operation at a time"),
)


def listener(settings: Settings) -> Lines:
    """Write section 4.2.1."""
    yield from heading(4, "4.2.1 LISTENER")
    yield from heading(5, "4.2.1.1 Association policies")
    yield from table(("Association", "Value"), [*IMPLEMENTATION, *_policies(settings.dicom)])
    yield from heading(5, "4.2.1.2 Association initiation")
    yield from paragraph("The listener initiates no associations.")
    yield from heading(5, "4.2.1.3 Accepted presentation contexts")
    yield from table(("Abstract syntax", "UID", "Transfer syntaxes", "Role"), _contexts(settings))
    yield from table(
        ("List", "Transfer syntaxes in order of preference"),
        [(letter, "; ".join(map(_both, syntaxes))) for syntaxes, letter in _lists(settings)],
    )
    yield from paragraph(
        "Of the transfer syntaxes of a presentation context the listener accepts the one that it",
        "prefers. Extended negotiation is not supported.",
    )
    yield from _storage(settings)
    yield from _commitment(settings)


def _policies(dicom: DicomSettings) -> Iterator[tuple[str, str]]:
    yield "AE title", dicom.ae_title
    yield "Calling AE titles accepted", ", ".join(dicom.known_calling_ae_titles) or "any"
    called = dicom.ae_title if dicom.require_called_ae_title else "any"
    yield "Called AE titles accepted", called
    yield "Associations at once", str(dicom.maximum_associations)
    yield "Associations with one calling AE title", str(dicom.maximum_associations_per_ae)
    yield "Associations from one address", str(dicom.maximum_associations_per_address)
    yield "Maximum PDU received", f"{dicom.maximum_pdu_bytes} bytes"


def _contexts(settings: Settings) -> list[tuple[str, ...]]:
    lists = dict(_lists(settings))
    rows: list[tuple[str, ...]] = [
        (*name_and_uid(uid), f"list {lists[transfer_syntaxes(uid)]}", "SCP")
        for uid in settings.dicom.sop_classes
    ]
    rows.append(
        (*name_and_uid(STORAGE_COMMITMENT), _names(SYNTAXES), "SCP, and SCU by role selection")
    )
    both = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    rows.append((*name_and_uid(VERIFICATION), _names(both), "SCP"))
    return rows


def _lists(settings: Settings) -> list[tuple[tuple[str, ...], str]]:
    """Name each different list of transfer syntaxes by a letter."""
    different = dict.fromkeys(map(transfer_syntaxes, settings.dicom.sop_classes))
    return [(syntaxes, "ABC"[place]) for place, syntaxes in enumerate(different)]


def _storage(settings: Settings) -> Lines:
    yield from heading(5, "4.2.1.4 SOP specific conformance: Storage")
    yield from paragraph(
        "Level 2 (full) storage: the data set is kept byte for byte as received, private",
        "attributes included. Success is returned when the data set and its row in the ledger are",
        "on the disk. The same SOP Instance UID with the same bytes is answered with Success and",
        "is one instance; with other bytes it is a corrected instance, which is analysed",
        "separately, and whose report names the earlier report as its predecessor. After any other",
        "response than Success nothing is kept.",
    )
    rejections = [
        (hexadecimal(status), reason, EXPLANATIONS[reason])
        for reason, status in REJECTION_STATUSES.items()
    ]
    yield from table(
        ("Status", "Reason", "Meaning"),
        [("0x0000", "", "Success"), *sorted(rejections)],
    )
    yield from paragraph(
        f"An instance is removed {settings.spool.keep_days:g} days after all its outputs were",
        "delivered. Whether an instance is analysed is decided after it was accepted; one that is",
        "not analysed has one of these reasons, which its report states:",
    )
    yield from table(
        ("Reason", "Meaning"),
        [(reason, EXPLANATIONS[reason]) for reason in NOT_ANALYSED],
    )


def _commitment(settings: Settings) -> Lines:
    yield from heading(5, "4.2.1.5 SOP specific conformance: Storage Commitment Push Model")
    yield from paragraph(
        "As SCP: an instance is committed if it was received with this SOP Class and its bytes are",
        f"still in the spool, that is up to {settings.spool.keep_days:g} days after its end.",
        f"A request may name up to {MOST_INSTANCES} instances in {LONGEST_DATA_SET} bytes, and a",
        f"sender may have {MOST_OPEN} requests that await a result. Lobar is no archive: committed",
        "instances cannot be retrieved from it. The N-EVENT-REPORT is sent on an",
        "association of its own to the calling AE title's address",
        "if that is configured (a destination, or `dicom.commitment_peers`), and is retried for",
        f"{settings.deliver.give_up_days:g} days; otherwise on the association of the request.",
        "Storage media file-set attributes and Retrieve AE Title are not used. Any other DIMSE-N",
        "request aborts the association.",
    )
    yield from table(
        ("N-ACTION response", "Meaning"),
        [(hexadecimal(status), meaning) for status, meaning in ACTION_STATUSES.items()],
    )
    yield from table(
        ("Failure Reason", "Meaning"),
        [(hexadecimal(status), meaning) for status, meaning in FAILURE_REASONS.items()],
    )
    yield from paragraph(
        "As SCU, for the results that a destination sends (it proposes the SCP role by role",
        "selection):",
    )
    yield from table(
        ("N-EVENT-REPORT response", "Meaning"),
        [(hexadecimal(status), meaning) for status, meaning in EVENT_STATUSES.items()],
    )


def _names(syntaxes: tuple[str, ...]) -> str:
    return ", ".join(name_and_uid(uid)[0] for uid in syntaxes)


def _both(uid: str) -> str:
    return " ".join(name_and_uid(uid))
