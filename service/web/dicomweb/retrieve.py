"""WADO-RS: retrieve instances, metadata, frames and documents (PS3.18 10.4)."""

import json
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydicom.uid import UID, ExplicitVRLittleEndian

from service.domain.audit import Action
from service.domain.user import Permission
from service.web.access import require
from service.web.dicomweb.frames import MEDIA_TYPES, NATIVE, first_frame
from service.web.dicomweb.header import Header, UnreadableHeaderError, read_whole
from service.web.dicomweb.holdings import Item, StudyItems, address
from service.web.dicomweb.media_types import (
    ANY_SYNTAX,
    DICOM,
    DICOM_JSON,
    OCTETS,
    Range,
    accepted,
    not_acceptable,
    require_json,
)
from service.web.dicomweb.related import Part, related, single, whole_file
from service.web.dicomweb.threads import FewThreads
from service.web.problem import Problem, not_found
from service.web.trail import Trail

_PDF: Final = "application/pdf"
_DOCUMENT: Final = "00420011"
_STUDY: Final = "/studies/{study}"
_SERIES: Final = _STUDY + "/series/{series}"
_INSTANCE: Final = _SERIES + "/instances/{instance}"


def router(items: StudyItems, trail: Trail, threads: FewThreads) -> APIRouter:
    """Build the routes of retrieval."""
    routes = APIRouter(dependencies=[require(Permission.PATIENT)])

    def find(request: Request, action: Action, what: str, *uids: str) -> list[Item]:
        """Find what is retrieved, and record it with each job that it is of."""
        found = items.whole(*uids)
        counts = Counter(item.job.id for item in found)
        for job in {item.job.id: item.job for item in found}.values():
            trail.record(request, action, job=job, what=what, instances=counts[job.id])
        return found

    @routes.get(_STUDY)
    @routes.get(_SERIES)
    @routes.get(_INSTANCE)
    @threads.route
    def _files(
        request: Request, study: str, series: str | None = None, instance: str | None = None
    ) -> Response:
        uids = [each for each in (study, series, instance) if each is not None]
        found = find(request, Action.DOWNLOAD, "instances", *uids)
        return _as_files(request, found, threads)

    @routes.get(_STUDY + "/metadata")
    @routes.get(_SERIES + "/metadata")
    @routes.get(_INSTANCE + "/metadata")
    @threads.route
    def _metadata(
        request: Request, study: str, series: str | None = None, instance: str | None = None
    ) -> Response:
        require_json(request)
        uids = [each for each in (study, series, instance) if each is not None]
        found = find(request, Action.VIEW, "metadata", *uids)
        described = [_described(request, item) for item in found]
        return Response(json.dumps(described), media_type=DICOM_JSON)

    @routes.get(_INSTANCE + "/frames/{frames}")
    @threads.route
    def _frames(request: Request, study: str, series: str, instance: str, frames: str) -> Response:
        (item, *_) = find(request, Action.VIEW, "frame", study, series, instance)
        if frames != "1":
            sentence = "Only the first frame is sent here: ask for /frames/1."
            raise Problem(HTTPStatus.NOT_FOUND, sentence)
        return _as_frame(request, item, threads)

    @routes.get(_INSTANCE + "/bulkdata/" + _DOCUMENT)
    @threads.route
    def _document(request: Request, study: str, series: str, instance: str) -> Response:
        (item, *_) = find(request, Action.VIEW, "document", study, series, instance)
        return _as_document(request, item, threads)

    return routes


def _described(request: Request, item: Item) -> dict[str, Any]:
    """Return an instance's attributes; of a broken header, what the ledger knows."""
    try:
        header = read_whole(item.path)
    except (UnreadableHeaderError, OSError):
        return item.attributes
    attributes: dict[str, Any] = dict(header.attributes)
    if header.document is not None:
        uri = f"{address(request, item)}/bulkdata/{_DOCUMENT}"
        attributes[_DOCUMENT] = {"vr": "OB", "BulkDataURI": uri}
    attributes["00083002"] = {"vr": "UI", "Value": [header.transfer_syntax_uid]}  # PS3.18 F.2
    return dict(sorted(attributes.items()))


def _header(item: Item) -> Header:
    try:
        return read_whole(item.path)
    except UnreadableHeaderError as exc:
        sentence = "The header of this instance cannot be read."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from exc
    except OSError as exc:
        raise not_found("instance any more") from exc


def _as_files(request: Request, found: Sequence[Item], threads: FewThreads) -> Response:
    """Send files as they are stored, if the client takes their transfer syntaxes.

    Raises:
        Problem: it does not.
    """
    parts = [(item, _syntax(item)) for item in found]
    for each in accepted(request):
        if not each.takes(DICOM) or not all(_takes_syntax(each, syntax) for _, syntax in parts):
            continue
        files = [
            whole_file(item.path, f"{DICOM}; transfer-syntax={syntax}") for item, syntax in parts
        ]
        if each.is_multipart or each.is_anything or len(files) > 1:
            return related(files, DICOM, threads)
        return single(files[0], threads)
    stored = ", ".join(sorted({UID(syntax).name for _, syntax in parts}))
    raise not_acceptable(
        f"Instances are sent as they are stored ({stored}), as multipart/related of {DICOM}: "
        f'accept `multipart/related; type="{DICOM}"; transfer-syntax=*`.'
    )


def _syntax(item: Item) -> str:
    if item.is_received:
        return item.job.transfer_syntax_uid
    return str(ExplicitVRLittleEndian)  # of every output


def _takes_syntax(each: Range, syntax: str) -> bool:
    """Return whether a range includes a transfer syntax.

    Without one it means Explicit VR Little Endian (PS3.18 8.7.3.5.2); what takes anything takes
    what is stored.
    """
    if each.is_anything or each.transfer_syntax == ANY_SYNTAX:
        return True
    return (each.transfer_syntax or ExplicitVRLittleEndian) == syntax


def _as_frame(request: Request, item: Item, threads: FewThreads) -> Response:
    header = _header(item)
    try:
        stretches = first_frame(item.path, header)
    except UnreadableHeaderError as exc:
        sentence = "The fragments of the frame cannot be told apart."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from exc
    except OSError as exc:
        raise not_found("instance any more") from exc
    if not stretches:
        raise not_found("frame in this instance")
    syntax = header.transfer_syntax_uid
    stated = syntax if header.are_encapsulated else str(ExplicitVRLittleEndian)
    image = MEDIA_TYPES.get(syntax) if header.are_encapsulated else OCTETS
    for each in accepted(request):
        media_type = _frame_media_type(each, image, stated)
        if media_type is not None:
            part = Part(
                media_type=f"{media_type}; transfer-syntax={stated}",
                path=item.path,
                stretches=stretches,
            )
            return related([part], media_type, threads)
    raise not_acceptable(
        f"The frame is sent as it is stored, in {UID(stated).name}: accept "
        f'`multipart/related; type="{image or OCTETS}"; transfer-syntax={stated}`.'
    )


def _frame_media_type(each: Range, image: str | None, syntax: str) -> str | None:
    """Return the media type of a frame within a range; None where it is not in it."""
    is_taken = each.transfer_syntax in {None, ANY_SYNTAX, syntax}
    if image is not None and each.takes(image) and is_taken:
        return image
    if each.takes(OCTETS) and (each.transfer_syntax in {ANY_SYNTAX, syntax} or syntax in NATIVE):
        return OCTETS
    return None


def _as_document(request: Request, item: Item, threads: FewThreads) -> Response:
    header = _header(item)
    if header.document is None:
        raise not_found("document in this instance")
    mime = header.attributes.get("00420012", {}).get("Value") or [""]
    media_type = _PDF if mime[0] == _PDF else OCTETS
    for each in accepted(request):
        if each.takes(media_type) or each.takes(OCTETS):
            sent = media_type if each.takes(media_type) else OCTETS
            part = Part(media_type=sent, path=item.path, stretches=(header.document,))
            if each.is_multipart:
                return related([part], sent, threads)
            return single(part, threads)
    raise not_acceptable(f"The document is sent as {media_type}.")
