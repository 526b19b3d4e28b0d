"""The DICOM Conformance Statement, written from the very tables that the code negotiates with.

Its parts follow PS3.2 in brief: what is taken and sent, in which encodings, with which answers.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from service.acceptance import STATUSES
from service.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, VERSION
from service.reasons import EXPLANATIONS
from service.settings import Dicom, Settings
from service.sop_classes import TRANSFER_SYNTAXES, VERIFICATION

RESULT_CLASSES: Final = {
    Comprehensive3DSRStorage: "the report (TID 1500)",
    ComprehensiveSRStorage: "the same report, where the peer takes no Comprehensive 3D SR",
    SecondaryCaptureImageStorage: "the overlay",
}
RESULT_SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def statement(settings: Settings) -> str:
    """Give the conformance statement of a configuration as a Markdown page."""
    parts = (_overview(), _listener(settings.dicom), _sender(settings), _the_rest())
    return "\n".join(line for part in parts for line in part)


def _overview() -> Iterator[str]:
    yield "# DICOM Conformance Statement"
    yield ""
    yield f"Lobar {VERSION}. Written by `lobar conformance` from the running configuration."
    yield ""
    yield (
        "Lobar takes chest radiographs over C-STORE, analyses them for pneumonia and sends the "
        "result back over C-STORE. It is not a medical device."
    )
    yield ""
    yield from _table(
        ("Implementation", "Value"),
        (
            ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
            ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
            ("Application context", "`1.2.840.10008.3.1.1.1`"),
        ),
    )


def _listener(dicom: Dicom) -> Iterator[str]:
    yield "## The listener: Verification and Storage as SCP"
    yield ""
    yield from _table(("Association", "Value"), _association(dicom))
    yield "### Presentation contexts accepted"
    yield ""
    classes = [(_named(VERIFICATION), "Implicit and Explicit VR Little Endian")]
    classes += [(_named(uid), "every transfer syntax below") for uid in dicom.sop_classes]
    yield from _table(("SOP class", "Transfer syntaxes"), classes)
    yield from _table(("Transfer syntax", "UID"), [_split(uid) for uid in TRANSFER_SYNTAXES])
    yield "### Answers to C-STORE"
    yield ""
    yield (
        "Success (0x0000) is answered when the data set, byte for byte as received, and its row "
        "in the ledger are on the disk. The same SOP Instance UID with the same bytes is answered "
        "Success and is one instance. After any other answer nothing is kept."
    )
    yield ""
    answers = [(f"0x{status:04X}", EXPLANATIONS[reason]) for reason, status in STATUSES.items()]
    yield from _table(("Status", "Meaning"), [("0x0000", "Success"), *sorted(answers)])


def _association(dicom: Dicom) -> Iterator[tuple[str, str]]:
    yield "AE title", dicom.ae_title
    listed = ", ".join(dicom.allowed_calling_ae_titles)
    yield "Calling AE titles accepted", listed or "any"
    called = dicom.ae_title if dicom.require_called_ae_title else "any"
    yield "Called AE titles accepted", called
    yield "Associations at once", str(dicom.maximum_associations)
    yield "Maximum PDU received", f"{dicom.maximum_pdu_bytes} bytes"
    yield "Asynchronous operations window", "not supported: one operation at a time"
    yield (
        "Timeouts (association set-up, silence)",
        (f"{dicom.acse_seconds:g} s, {dicom.network_seconds:g} s"),
    )


def _sender(settings: Settings) -> Iterator[str]:
    yield "## The deliver worker: Verification and Storage as SCU"
    yield ""
    classes = [(_named(uid), meaning) for uid, meaning in RESULT_CLASSES.items()]
    yield from _table(("SOP class proposed", "For"), classes)
    names = " and ".join(uid.name for uid in RESULT_SYNTAXES)
    yield f"Each is proposed in {names}, a presentation context each."
    yield ""
    yield from _table(
        ("Answer", "What follows"),
        (
            ("0x0000", "delivered"),
            (
                "0x0001, 0x0107, 0x0111, 0x0116, 0xBxxx",
                "delivered, with a warning kept and counted",
            ),
            (
                "0xA7xx, no answer, no association",
                f"tried again, for up to {settings.deliver.give_up_days:g} days",
            ),
            (
                "any other",
                f"tried again up to {settings.deliver.maximum_refusals} times, then parked",
            ),
        ),
    )


def _the_rest() -> Iterator[str]:
    yield "## Character sets, security, media"
    yield ""
    yield (
        "Patient and study attributes, and Specific Character Set with them, are copied from the "
        "source byte for byte; what Lobar adds is ASCII. Associations are not encrypted. No media "
        "is read or written. Storage commitment, query and retrieve are not supported."
    )
    yield ""


def _named(uid: str) -> str:
    name, code = _split(uid)
    return f"{name} {code}"


def _split(uid: str) -> tuple[str, str]:
    return UID(uid).name, f"`{uid}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
