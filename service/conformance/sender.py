"""What the deliver worker sends, to whom, and what follows an answer (PS3.2 4.2)."""

from pynetdicom import DEFAULT_TRANSFER_SYNTAXES

from service.conformance.listener import IMPLEMENTATION
from service.conformance.tables import Lines, Made, heading, named, paragraph, table
from service.dicom.sop_classes import RESULT_SOP_CLASSES, RESULT_SYNTAXES, VERIFICATION
from service.dicom.storage_commitment import STORAGE_COMMITMENT, SYNTAXES
from service.settings import Settings


def sender(settings: Settings, made: Made) -> Lines:
    """Give section 4.2.2."""
    yield from heading(4, "4.2.2 DELIVERER")
    yield from heading(5, "4.2.2.1 Association policies")
    yield from table(("Association", "Value"), IMPLEMENTATION)
    yield from paragraph(
        "One association at a time for each destination, kept for as many objects as are due. It",
        "accepts no associations: the results of storage commitment come to the LISTENER, or on",
        "the association on which they were asked for.",
    )
    yield from heading(5, "4.2.2.2 Proposed presentation contexts")
    syntaxes = ", ".join(named(uid)[0] for uid in RESULT_SYNTAXES)
    rows: list[tuple[str, ...]] = [
        (*named(uid), f"{syntaxes}, a context each", str(kind), "SCU")
        for uid, kind in RESULT_SOP_CLASSES.items()
    ]
    rows.append(
        (
            *named(VERIFICATION),
            ", ".join(named(uid)[0] for uid in DEFAULT_TRANSFER_SYNTAXES),
            "",
            "SCU",
        )
    )
    commitment = ", ".join(named(uid)[0] for uid in SYNTAXES)
    rows.append(
        (*named(STORAGE_COMMITMENT), commitment, "", "SCU; SCP to tell senders, by role selection")
    )
    yield from table(("Abstract syntax", "UID", "Transfer syntaxes", "Output", "Role"), rows)
    yield from paragraph(
        "Only what is to be sent is proposed. With a Comprehensive 3D SR a Comprehensive SR is",
        "proposed too: where only that is accepted, the same report goes as that, under UIDs of",
        "its own. An object goes byte for byte where its own transfer syntax (Explicit VR Little",
        "Endian) is accepted.",
    )
    yield from heading(5, "4.2.2.3 SOP specific conformance: Storage")
    yield from table(("Answer", "What follows"), made.answers)
    yield from heading(5, "4.2.2.4 SOP specific conformance: Storage Commitment Push Model")
    yield from paragraph(
        "Where a destination has `storage_commitment = true`, it is asked by N-ACTION to commit",
        "itself to what it answered Success to; the result may come on that association, which is",
        "kept for a moment, or on a new one to the LISTENER. What it does not commit itself to is",
        "sent again,",
        f"up to {settings.deliver.maximum_refusals} times; where no result comes, it is asked",
        "again after the destination's `commitment_seconds`, with another Transaction UID, for up",
        f"to {settings.deliver.give_up_days:g} days. The twin of a report is asked for by its own",
        "names.",
    )


def web_sender(settings: Settings, made: Made) -> Lines:
    """Give section 4.2.3."""
    yield from heading(4, "4.2.3 DELIVERER: DICOMweb")
    yield from paragraph(
        "Store Instances (PS3.18 10.5) as user agent: POST to {url}/studies, one instance a",
        'request, `multipart/related; type="application/dicom"`, in Explicit VR Little Endian;',
        "responses in `application/dicom+json`. HTTP/1.1, TLS by the address; a bearer token or a",
        "client certificate as configured. Redirections are not followed.",
    )
    yield from table(("Answer", "What follows"), made.web_answers)
    yield from paragraph(
        f"Tried for up to {settings.deliver.give_up_days:g} days, as a DIMSE destination is.",
    )
