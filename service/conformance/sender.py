"""The deliver worker as SCU and as DICOMweb user agent (PS3.2 annex A, 4.2)."""

from pynetdicom import DEFAULT_TRANSFER_SYNTAXES

from service.conformance.listener import IMPLEMENTATION
from service.conformance.tables import Lines, WorkerFacts, heading, name_and_uid, paragraph, table
from service.dicom.sop_classes import RESULT_SOP_CLASSES, RESULT_SYNTAXES, VERIFICATION
from service.dicom.storage_commitment import STORAGE_COMMITMENT, SYNTAXES
from service.settings import Settings


def sender(settings: Settings, facts: WorkerFacts) -> Lines:
    """Write section 4.2.2."""
    yield from heading(4, "4.2.2 DELIVERER")
    yield from heading(5, "4.2.2.1 Association policies")
    yield from table(("Association", "Value"), IMPLEMENTATION)
    yield from paragraph(
        "One association for each destination, used for all objects that are due. Where many wait",
        "and the destination has answered, more are opened, up to `associations` of the",
        "destination (4 unless it is set) at the same time; objects of one study are sent one",
        "after the other. Where objects come within `deliver.keep_open_seconds` (0.25 unless it is",
        "set) of those before, associations stay open for as long when nothing is due, and are",
        "released at once otherwise. It accepts no associations: the results of storage commitment",
        "arrive at the LISTENER, or on the association of the request.",
    )
    yield from heading(5, "4.2.2.2 Proposed presentation contexts")
    syntaxes = ", ".join(name_and_uid(uid)[0] for uid in RESULT_SYNTAXES)
    rows: list[tuple[str, ...]] = [
        (*name_and_uid(uid), f"{syntaxes}, one context each", str(kind), "SCU")
        for uid, kind in RESULT_SOP_CLASSES.items()
    ]
    rows.append(
        (
            *name_and_uid(VERIFICATION),
            ", ".join(name_and_uid(uid)[0] for uid in DEFAULT_TRANSFER_SYNTAXES),
            "",
            "SCU",
        )
    )
    role = "SCU; SCP to send results to senders, by role selection"
    commitment = ", ".join(name_and_uid(uid)[0] for uid in SYNTAXES)
    rows.append((*name_and_uid(STORAGE_COMMITMENT), commitment, "", role))
    yield from table(("Abstract syntax", "UID", "Transfer syntaxes", "Output", "Role"), rows)
    yield from paragraph(
        "Only the SOP Classes of the objects to send are proposed. With Comprehensive 3D SR,",
        "Comprehensive SR is proposed too: if only the latter is accepted, the same report is sent",
        "as Comprehensive SR, with UIDs of its own. An object is sent byte for byte if its own",
        "transfer syntax (Explicit VR Little Endian) is accepted.",
    )
    yield from heading(5, "4.2.2.3 SOP specific conformance: Storage")
    yield from table(("Response", "Reaction"), facts.responses)
    yield from heading(5, "4.2.2.4 SOP specific conformance: Storage Commitment Push Model")
    yield from paragraph(
        "Of a destination with `storage_commitment = true`, commitment is requested by N-ACTION",
        "for the objects that it answered with Success. The result may arrive on that association,",
        "which stays open for a moment, or on a new one to the LISTENER. An object that the",
        "destination does not commit to is sent again,",
        f"up to {settings.deliver.maximum_refusals} times. If no result arrives, the request is",
        "repeated after the destination's `commitment_seconds`, with another Transaction UID, for",
        f"up to {settings.deliver.give_up_days:g} days. Commitment of a Comprehensive SR is",
        "requested with its own UIDs.",
    )


def web_sender(settings: Settings, facts: WorkerFacts) -> Lines:
    """Write section 4.2.3."""
    yield from heading(4, "4.2.3 DELIVERER: DICOMweb")
    yield from paragraph(
        "Store Instances (PS3.18 10.5) as user agent: POST to {url}/studies, one instance per",
        'request, `multipart/related; type="application/dicom"`, in Explicit VR Little Endian;',
        "responses in `application/dicom+json`. HTTP/1.1, TLS if the URL is https; a bearer token",
        "or a client certificate as configured. Redirects are not followed.",
    )
    yield from table(("Response", "Reaction"), facts.web_responses)
    yield from paragraph(
        f"Retried for up to {settings.deliver.give_up_days:g} days, like a DIMSE destination.",
    )
