"""The radiograph of a job, as a picture and as samples for the viewer, and its overlay as sent."""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from service.decoding import DecodersBusyError, DecodersLostError
from service.decoding.pixel_data import UnshowableError
from service.decoding.pool import HandlerError
from service.decoding.radiograph import DEFAULT_WIDTH, MOST_SAMPLES, Radiographs
from service.domain.audit import Action
from service.domain.job import Job
from service.domain.reasons import EXPLANATIONS, Reason
from service.domain.routing import OutputKind
from service.domain.user import OPEN_IDENTITY, Identity, Permission
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.access import require
from service.web.lookup import known_job
from service.web.problem import Problem
from service.web.sign_in.forwarded import client_address
from service.web.trail import Recent, Trail

DESCRIPTION_HEADER: Final = "x-lobar-radiograph"
_LEAST_WIDTH: Final = 64
_CHUNK_BYTES: Final = 1 << 18
_RETRY_SECONDS: Final = 5
_ONE_LOOK_SECONDS: Final = 300.0  # in which the requests of a page are one look
_MOST_LOOKS: Final = 10_000  # that are remembered

log = structlog.get_logger()


class Looks:
    """Records a look at a picture once, however many requests a page makes for it."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail
        self._recent = Recent(_ONE_LOOK_SECONDS, _MOST_LOOKS)

    def record(self, request: Request, job: Job, picture: str) -> None:
        """Record that the sender of a request sees a picture of a job.

        Raises:
            LedgerError: it could not be recorded; the picture must not be shown.
        """
        identity: Identity = getattr(request.state, "identity", OPEN_IDENTITY)
        address = client_address(request)
        look = (identity.name, str(identity.signed_in_by), address, job.id, picture)
        if self._recent.has(look):
            return
        self._trail.record(request, Action.VIEW, job=job, picture=picture)
        self._recent.add(look)


def router(ledger: Ledger, spool: Spool, radiographs: Radiographs, trail: Trail) -> APIRouter:
    """Build the routes of the pictures of a job."""
    routes = APIRouter(include_in_schema=False, dependencies=[require(Permission.PATIENT)])
    looks = Looks(trail)

    @routes.get("/jobs/{job_id}/radiograph.png")
    def _picture(
        request: Request,
        job_id: str,
        width: Annotated[int, Query(ge=_LEAST_WIDTH, le=MOST_SAMPLES)] = DEFAULT_WIDTH,
    ) -> Response:
        job = known_job(ledger, job_id)
        with _problems(job):
            picture = radiographs.picture(spool.inbox(job.id), width=width)
        looks.record(request, job, "radiograph")
        return _sent(picture, "image/png")

    @routes.get("/jobs/{job_id}/radiograph.json")
    def _description(request: Request, job_id: str) -> Response:
        job = known_job(ledger, job_id)
        with _problems(job):
            description = radiographs.description(spool.inbox(job.id))
        looks.record(request, job, "radiograph")
        return JSONResponse(dict(description))

    @routes.get("/jobs/{job_id}/radiograph")
    def _samples(request: Request, job_id: str) -> Response:
        job = known_job(ledger, job_id)
        compressed = _takes_gzip(request)
        with _problems(job):
            found = radiographs.sampled(spool.inbox(job.id), compressed=compressed)
        looks.record(request, job, "radiograph")
        response = _sent(found.body, "application/octet-stream")
        response.headers[DESCRIPTION_HEADER] = json.dumps(found.description)
        response.headers["vary"] = "accept-encoding"
        if compressed:
            response.headers["content-encoding"] = "gzip"
        return response

    @routes.get("/jobs/{job_id}/overlay.png")
    def _overlay(request: Request, job_id: str) -> Response:
        job = known_job(ledger, job_id)
        path = _overlay_of(ledger, spool, job)
        with _problems(job):
            picture = radiographs.output(path)
        looks.record(request, job, "overlay")
        return _sent(picture, "image/png")

    return routes


def viewer_values(ledger: Ledger, job: Job) -> dict[str, Any]:
    """Return what `viewer.html` needs beside the job, for a page that includes it.

    Only for somebody with `Permission.PATIENT`: the template shows the radiograph.
    """
    evidence = ledger.evidence.of(job.id)
    region = evidence.region if evidence else None
    attention = evidence.attention if evidence else None
    kinds = {output.kind for output in ledger.queries.outputs(job.id)}
    return {
        "evidence": evidence,
        "viewer": {
            "has_bytes": job.purged_at is None and job.reason is not Reason.BYTES_MISSING,
            "has_overlay": OutputKind.OVERLAY in kinds and job.purged_at is None,
            "evidence": json.dumps(
                {
                    "region": asdict(region) if region else None,
                    "attention": asdict(attention) if attention else None,
                }
            ),
        },
    }


def _overlay_of(ledger: Ledger, spool: Spool, job: Job) -> Path:
    for output in ledger.queries.outputs(job.id):
        if output.kind == OutputKind.OVERLAY:
            return spool.outbox(job.id, output.kind, output.sop_instance_uid)
    raise Problem(HTTPStatus.NOT_FOUND, "No overlay was made of this job.")


@contextmanager
def _problems(job: Job) -> Iterator[None]:
    """Turn what may prevent that a file of a job is shown into problems."""
    try:
        yield
    except UnshowableError as error:
        sentence = f"It cannot be shown. {EXPLANATIONS[error.reason]}"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence, error.reason) from error
    except FileNotFoundError as error:
        raise _gone(job) from error
    except DecodersBusyError as error:
        raise _busy() from error
    except DecodersLostError as error:
        log.critical("decoders_lost")
        os.kill(os.getpid(), signal.SIGTERM)  # drain, and be started anew
        raise _busy() from error
    except HandlerError as error:
        log.exception("rendering_failed", job_id=job.id)
        sentence = "It cannot be shown; the log has the event."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from error
    except OSError as error:
        log.exception("spool_unreadable", job_id=job.id)
        sentence = "The disk does not give the bytes."
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, sentence) from error


def _gone(job: Job) -> Problem:
    if job.purged_at is not None:
        return Problem(HTTPStatus.GONE, "Retention removed the pixels of this job.")
    return Problem(HTTPStatus.GONE, EXPLANATIONS[Reason.BYTES_MISSING], Reason.BYTES_MISSING)


def _busy() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Too many radiographs are being decoded; try again in a few seconds.",
        retry_after=_RETRY_SECONDS,
    )


def _takes_gzip(request: Request) -> bool:
    """Return whether a response may be sent through gzip (RFC 9110, section 12.5.3)."""
    for each in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() in {"gzip", "*"} and weight.replace(" ", "") not in {"q=0", "q=0.0"}:
            return True
    return False


def _sent(body: memoryview, media_type: str) -> Response:
    """Build a response that sends memory of a decoder without a copy of all of it."""

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), _CHUNK_BYTES):
            yield bytes(body[at : at + _CHUNK_BYTES])

    headers = {"content-length": str(len(body))}
    return StreamingResponse(chunks(), media_type=media_type, headers=headers)
