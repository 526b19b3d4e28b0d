"""What a conformance statement begins and ends with: overview, introduction, and the rest."""

from typing import Final

from service.conformance.tables import Lines, heading, named, paragraph, table
from service.dicom.implementation import VERSION
from service.dicom.sop_classes import DOCUMENT_SOP_CLASSES, RESULT_SOP_CLASSES, VERIFICATION
from service.dicom.storage_commitment import STORAGE_COMMITMENT
from service.settings import Settings

YES: Final = "Yes"
NO: Final = "No"


def introduction(settings: Settings) -> Lines:
    """Give sections 1 to 3."""
    yield from heading(1, "DICOM Conformance Statement")
    yield from paragraph(
        f"Lobar {VERSION}. Written by `lobar conformance` from the running configuration, in the",
        "structure of PS3.2 annex A.",
    )
    yield from heading(2, "1 Conformance statement overview")
    yield from paragraph(
        "Lobar takes chest radiographs over C-STORE, analyses them for pneumonia and sends reports",
        "back over C-STORE or STOW-RS. It commits itself to the radiographs it holds, and asks its",
        "destinations to commit themselves to its reports. It is not a medical device: for",
        "research use only.",
    )
    yield from table(
        ("Network service", "UID", "User of service (SCU)", "Provider of service (SCP)"),
        _services(settings),
    )
    yield from paragraph("No media are read or written.")
    yield from heading(2, "2 Table of contents")
    for section in (
        "1 Conformance statement overview",
        "3 Introduction",
        "4 Networking",
        "5 Media interchange",
        "6 Support of character sets",
        "7 Security",
        "8 Annexes: the objects that are made, their codes and templates",
    ):
        yield f"- {section}"
    yield ""
    yield from heading(2, "3 Introduction")
    yield from paragraph(
        "For whoever connects a PACS, a router or a modality with Lobar. Two statements that fit",
        "do not prove that two products work together: try it with data of nobody. Where a value",
        "depends on the configuration, this page has the one in force when it was written; see",
        "docs/configuration.md. Terms are those of PS3 and of docs/glossary.md.",
    )


def _services(settings: Settings) -> list[tuple[str, ...]]:
    taken = set(settings.dicom.sop_classes)
    sent = set(RESULT_SOP_CLASSES)
    rows: list[tuple[str, ...]] = [
        (*named(uid), YES if uid in sent else NO, YES if uid in taken else NO)
        for uid in dict.fromkeys((*settings.dicom.sop_classes, *RESULT_SOP_CLASSES))
    ]
    rows.append((*named(VERIFICATION), YES, YES))
    rows.append((*named(STORAGE_COMMITMENT), f"{YES}, per destination", YES))
    rows.append(("Store Instances (STOW-RS), PS3.18 10.5", "", f"{YES}, per destination", NO))
    return rows


def the_rest() -> Lines:
    """Give sections 5 to 7."""
    yield from heading(2, "5 Media interchange")
    yield from paragraph("Not supported.")
    yield from heading(2, "6 Support of character sets")
    yield from paragraph(
        "Any, known or not: patient and study attributes, and Specific Character Set with them,",
        "are copied from the source byte for byte and never decoded. What Lobar adds is of the",
        "default repertoire (ISO_IR 6), which reads the same in every one of them.",
    )
    yield from heading(2, "7 Security")
    yield from paragraph(
        "DIMSE associations are not encrypted and carry no user identity: a calling AE title is",
        "what a sender says it is. STOW-RS goes over TLS with a bearer token or a client",
        "certificate as configured. The listener accepts only the calling AE titles that are",
        "configured, and strangers only where somebody has said that they may; this also holds",
        "for a PACS that brings the result of a storage commitment.",
    )
    yield from paragraph(
        "Objects that bear Lobar's own mark, and objects without an image",
        f"({', '.join(named(uid)[0] for uid in DOCUMENT_SOP_CLASSES)}), are accepted, counted and",
        "left alone, so that a router which sends back what it was sent ends no loop in us.",
    )
