"""STOW-RS: store instances (PS3.18 10.5)."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydicom.dataset import Dataset
from python_multipart.exceptions import FormParserError
from starlette.requests import ClientDisconnect

from service.dicom.byte_sources import TooLargeError, UndecodableError
from service.dicom.element_reader import read_file_meta, read_header
from service.dicom.sop_classes import TRANSFER_SYNTAXES
from service.dicom.statuses import (
    CANNOT_UNDERSTAND,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    REJECTION_STATUSES,
    SOP_CLASS_NOT_SUPPORTED,
)
from service.dicom.uids import identifier, is_uid
from service.domain.audit import Action, AuditOutcome
from service.domain.job import Receipt
from service.domain.user import Permission
from service.receiving.acceptance import IDENTIFIERS
from service.receiving.ingest import INFLATED_BYTES
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.access import require
from service.web.dicomweb.media_types import DICOM_JSON, require_json
from service.web.dicomweb.store_body import StoreBody, boundary_of
from service.web.dicomweb.threads import FewThreads
from service.web.problem import Problem, not_found
from service.web.trail import Trail
from service.web.uploading.uploads import Uploads

_TRANSFER_SYNTAX_UID: Final = 0x00020010  # PS3.10 table 7.1-1

# FailureReason, PS3.18 table I.2-2
TRANSFER_SYNTAX_NOT_SUPPORTED: Final = 0xC122  # "Referenced Transfer Syntax not supported"
OTHER_STUDY: Final = 0xC409  # within Cxxx, "Cannot understand": not of the study in the address
_RESOURCES: Final = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE})


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a part says that it is; blank where it does not."""

    sop_class: str = ""
    sop_instance: str = ""
    study: str = ""
    series: str = ""
    syntax: str = ""


@dataclass(slots=True)
class _Outcome:
    """The instances of one request, stored and failed."""

    stored: list[_Sent] = field(default_factory=list)
    failed: list[tuple[_Sent, int]] = field(default_factory=list)
    jobs: dict[str, str] = field(default_factory=dict)  # by study, one of its jobs

    @property
    def status(self) -> HTTPStatus:
        """PS3.18 table 10.5.3-1."""
        if not self.stored:
            return HTTPStatus.CONFLICT
        return HTTPStatus.ACCEPTED if self.failed else HTTPStatus.OK


class _Storing:
    """Takes the instances of a body, each as soon as it is complete."""

    def __init__(
        self, spool: Spool, uploads: Uploads, sop_classes: Sequence[str], threads: FewThreads
    ) -> None:
        self._spool = spool
        self._uploads = uploads
        self._sop_classes = sop_classes
        self._threads = threads

    async def receive(self, request: Request, study: str | None, outcome: _Outcome) -> None:
        """Read the body, and add to the outcome whether each instance in it was stored.

        Raises:
            Problem: the body as a whole is refused; instances before a damage may be stored.
        """
        with StoreBody.of(boundary_of(request), self._spool) as body:
            try:
                async for piece in request.stream():
                    await self._threads.run(body.feed, piece)
                    while (path := body.next_completed()) is not None:
                        await self._take(path, study, outcome)
            except (FormParserError, ClientDisconnect) as exc:
                raise _damaged() from exc
            except OSError as exc:
                sentence = "The disk is at its reserve."
                raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, sentence, retry_after=60) from exc
            if not body.has_ended or not body.count:
                raise _damaged()

    async def _take(self, path: Path, study: str | None, outcome: _Outcome) -> None:
        try:
            sent = await self._threads.run(_sent, path)
            failure = _failure(sent, study, self._sop_classes)
            if failure is None:
                result = await self._uploads.take(path)
                if isinstance(result, Receipt):
                    outcome.jobs[sent.study] = result.job_id
                else:
                    failure = _reason(result)
        finally:
            await self._threads.run(path.unlink, missing_ok=True)
        if failure is None:
            outcome.stored.append(sent)
        else:
            outcome.failed.append((sent, failure))


def router(
    ledger: Ledger,
    spool: Spool,
    uploads: Uploads,
    sop_classes: Sequence[str],
    trail: Trail,
    threads: FewThreads,
) -> APIRouter:
    """Build the routes that store."""
    routes = APIRouter(dependencies=[require(Permission.UPLOAD)])
    storing = _Storing(spool, uploads, sop_classes, threads)

    def record(request: Request, outcome: _Outcome) -> None:
        """Record each study of which something was stored, and that something was not."""
        for study, job_id in outcome.jobs.items():
            stored = sum(each.study == study for each in outcome.stored)
            job = ledger.queries.job(job_id)
            trail.record(request, Action.UPLOAD, job=job, what="dicom-web", stored=stored)
        if outcome.failed:
            failed = len(outcome.failed)
            failure = AuditOutcome.FAILURE
            trail.record(request, Action.UPLOAD, outcome=failure, what="dicom-web", failed=failed)

    @routes.post("/studies")
    @routes.post("/studies/{study}")
    async def _store(request: Request, study: str | None = None) -> Response:
        if study is not None and not is_uid(study):
            raise not_found("study: this is no UID")
        require_json(request)
        outcome = _Outcome()
        try:
            await storing.receive(request, study, outcome)
        finally:
            await threads.run(record, request, outcome)
        content = json.dumps(_response(request, outcome))
        return Response(content, int(outcome.status), media_type=DICOM_JSON)

    return routes


def _damaged() -> Problem:
    sentence = "The multipart body is damaged; instances before the damage may be stored."
    return Problem(HTTPStatus.BAD_REQUEST, sentence)


def _sent(path: Path) -> _Sent:
    """Read what a part says that it is, its values bounded and checked by their form."""
    syntax, header = "", Dataset()
    with suppress(UndecodableError, TooLargeError), path.open("rb") as stream:
        part10 = read_file_meta(stream)
        syntax = identifier(part10.meta, _TRANSFER_SYNTAX_UID)
        header = read_header(
            stream,
            syntax,
            size_bytes=part10.size_bytes,
            tags=IDENTIFIERS,
            most_bytes=INFLATED_BYTES,
        )
    found = [identifier(header, tag) for tag in IDENTIFIERS]
    sop_class, instance, study, series = (each if is_uid(each) else "" for each in found)
    return _Sent(sop_class, instance, study, series, syntax if is_uid(syntax) else "")


def _failure(sent: _Sent, study: str | None, sop_classes: Sequence[str]) -> int | None:
    """Return why an instance is not taken, before its bytes are looked at; None if it may be."""
    if not sent.syntax:
        return CANNOT_UNDERSTAND
    if sent.sop_class and sent.sop_class not in sop_classes:
        return SOP_CLASS_NOT_SUPPORTED
    if sent.syntax not in TRANSFER_SYNTAXES:
        return TRANSFER_SYNTAX_NOT_SUPPORTED
    if study in {None, sent.study}:
        return None
    return OTHER_STUDY if sent.study else CANNOT_UNDERSTAND


def _reason(problem: Problem) -> int:
    if problem.reason is not None and problem.reason in REJECTION_STATUSES:
        return REJECTION_STATUSES[problem.reason]
    return OUT_OF_RESOURCES if problem.status in _RESOURCES else PROCESSING_FAILURE


def _response(request: Request, outcome: _Outcome) -> dict[str, Any]:
    """Build the response's data set (PS3.18 table I.2-1)."""
    base = f"{request.base_url}dicom-web/studies"
    response: dict[str, Any] = {}
    studies = {each.study for each in outcome.stored}
    if len(studies) == 1:
        response["00081190"] = _value("UR", f"{base}/{studies.pop()}")
    named = [(sent, reason) for sent, reason in outcome.failed if sent.sop_instance]
    nameless = [reason for sent, reason in outcome.failed if not sent.sop_instance]
    if named:
        failures = [{**_reference(sent), "00081197": _value("US", why)} for sent, why in named]
        response["00081198"] = {"vr": "SQ", "Value": failures}
    if outcome.stored:
        stored = [{**_reference(each), **_address(base, each)} for each in outcome.stored]
        response["00081199"] = {"vr": "SQ", "Value": stored}
    if nameless:  # Other Failures Sequence
        failures = [{"00081197": _value("US", why)} for why in nameless]
        response["0008119A"] = {"vr": "SQ", "Value": failures}
    return response


def _reference(sent: _Sent) -> dict[str, Any]:
    return {
        "00081150": _value("UI", sent.sop_class),
        "00081155": _value("UI", sent.sop_instance),
    }


def _address(base: str, sent: _Sent) -> dict[str, Any]:
    url = f"{base}/{sent.study}/series/{sent.series}/instances/{sent.sop_instance}"
    return {"00081190": _value("UR", url)}


def _value(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}
