"""The web server as DICOMweb origin server (PS3.2 annex A, 4.2; PS3.18)."""

from typing import Final

from pydicom.uid import UID

from service.conformance.tables import Lines, heading, paragraph, table
from service.dicom.sop_classes import TRANSFER_SYNTAXES
from service.dicom.statuses import REJECTION_STATUSES, SOP_CLASS_NOT_SUPPORTED
from service.domain.reasons import EXPLANATIONS
from service.settings import Settings
from service.web.dicomweb.frames import MEDIA_TYPES
from service.web.dicomweb.holdings import MOST_RECEIVED
from service.web.dicomweb.matching import (
    INCLUDED_KEYS,
    INSTANCE_KEYS,
    MOST,
    SERIES_KEYS,
    STUDY_KEYS,
    USUAL,
)
from service.web.dicomweb.services import PREFIX
from service.web.dicomweb.store import OTHER_STUDY, TRANSFER_SYNTAX_NOT_SUPPORTED
from service.web.dicomweb.store_body import MOST_INSTANCES

_RESOURCES: Final = (
    ("POST /studies, /studies/{study}", "Store Instances, PS3.18 10.5"),
    ("GET /studies, /series, /instances", "Search, PS3.18 10.6"),
    ("GET /studies/{study}/series, /studies/{study}/instances", "Search"),
    ("GET /studies/{study}/series/{series}/instances", "Search"),
    ("GET /studies/{study}[/series/{series}[/instances/{instance}]]", "Retrieve, PS3.18 10.4"),
    ("GET the same with /metadata", "Retrieve Metadata"),
    ("GET .../instances/{instance}/frames/1", "Retrieve Frames"),
    ("GET .../instances/{instance}/bulkdata/00420011", "Retrieve Bulk Data: the document"),
)


def origin_server(settings: Settings) -> Lines:
    """Write section 4.2.4."""
    yield from heading(4, "4.2.4 WEB: DICOMweb")
    yield from paragraph(
        f"Origin server for the Studies Service (PS3.18 10) below `{PREFIX}`. It holds the",
        "instances that were received, over DIMSE too, and the outputs that were made of them,",
        f"until {settings.spool.keep_days:g} days after their job finished, then 410 Gone.",
    )
    yield from table(("Resource", "Transaction"), _RESOURCES)
    yield from _store(settings)
    yield from _search()
    yield from _retrieve()


def _store(settings: Settings) -> Lines:
    yield from heading(5, "4.2.4.1 Store Instances")
    yield from paragraph(
        '`multipart/related; type="application/dicom"`; other types are 415. SOP classes and',
        "transfer syntaxes are those of section 4.2.1.3. At most",
        f"{settings.web.maximum_upload_bytes:,} bytes and {MOST_INSTANCES:,} instances in one",
        "request. An instance named in the response is on the disk and in the ledger; one sent",
        "again is stored once. 200: all are stored; 202: some; 409: none. The response is in",
        "`application/dicom+json`. Failure Reasons (PS3.18 table I.2-2):",
    )
    rejections = (
        (f"{status:04X}", EXPLANATIONS[why]) for why, status in REJECTION_STATUSES.items()
    )
    rows = (
        *rejections,
        (f"{SOP_CLASS_NOT_SUPPORTED:04X}", "The SOP class is not taken."),
        (f"{TRANSFER_SYNTAX_NOT_SUPPORTED:04X}", "The transfer syntax is not taken."),
        (f"{OTHER_STUDY:04X}", "The instance is of another study than the address names."),
    )
    yield from table(("Failure Reason", "Meaning"), rows)


def _search() -> Lines:
    yield from heading(5, "4.2.4.2 Search")
    yield from table(
        ("Level", "Matching keys, besides those above"),
        (
            ("Study", ", ".join(STUDY_KEYS)),
            ("Series", ", ".join(SERIES_KEYS)),
            ("Instance", ", ".join(INSTANCE_KEYS)),
        ),
    )
    yield from paragraph(
        "Single value, wildcard, range of dates and times, list of UIDs and universal matching.",
        "Any other key is 400. `includefield` returns other attributes of the header: those of",
        f"PS3.18 tables 10.6.3-3 to 10.6.3-5 and {', '.join(INCLUDED_KEYS)}; `all` returns all of",
        "them that are not long. `fuzzymatching` is not supported, and a Warning header says so.",
        f"`limit` is {USUAL} unless stated, at most {MOST}; with `offset`. Of a study the",
        f"{MOST_RECEIVED} instances received last are searched and counted, with their outputs; a",
        "Warning header says if there are more. The",
        "study received last comes first. Results are in `application/dicom+json`; none are an",
        "empty list. Of an instance with an unreadable header, what the ledger knows is returned.",
    )


def _retrieve() -> Lines:
    yield from heading(5, "4.2.4.3 Retrieve")
    yield from paragraph(
        "Instances are sent byte for byte as they were received or made, in their own transfer",
        "syntax; nothing is transcoded. Compressed ones need `transfer-syntax=*` or their UID in",
        "Accept, else 406. Metadata is in `application/dicom+json`, without pixel data and long",
        "values. Frames other than the first are 404. Rendered resources are not supported. Of a",
        f"study of which more than {MOST_RECEIVED} instances were received only single instances",
        "are sent; the study or a series is 413.",
    )
    rows = [
        (UID(syntax).name, MEDIA_TYPES.get(syntax, "application/octet-stream"))
        for syntax in TRANSFER_SYNTAXES
        if "Deflated" not in UID(syntax).name
    ]
    yield from table(("Stored transfer syntax", "Media type of the frame"), rows)
