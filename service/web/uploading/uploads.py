"""Receive instances by upload: DICOM as it is, pictures converted to Secondary Capture first.

A ZIP is opened, and each file in it is taken like one that was sent by itself.
"""

import os
import signal
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, Literal

import structlog
from anyio import CapacityLimiter, sleep, to_thread
from fastapi import Request
from pydicom.uid import MediaStorageDirectoryStorage
from python_multipart.exceptions import FormParserError
from starlette.requests import ClientDisconnect

from service.decoding import DecodersBusyError, DecodersLostError
from service.decoding.pictures import PictureConverter
from service.decoding.pool import HandlerError
from service.dicom.byte_sources import UndecodableError
from service.dicom.element_reader import read_file_meta
from service.dicom.secondary_capture import SNIFFED_BYTES, PictureError, kind_of
from service.dicom.sop_classes import TRANSFER_SYNTAXES
from service.dicom.uids import identifier
from service.domain.job import Receipt, Source
from service.domain.reasons import EXPLANATIONS, Reason
from service.receiving.acceptance import Rejection
from service.receiving.ingest import Ingest
from service.settings import Settings
from service.storage.spool import Spool
from service.telemetry.metrics import UPLOADS
from service.web.problem import Problem
from service.web.uploading.archive import Archive, Entry, is_zip
from service.web.uploading.multipart import Parts, boundary_of
from service.web.uploading.refusals import (
    ACCEPTED,
    Refusal,
    Skipped,
    not_taken,
)

_INSTANCES_AT_ONCE: Final = 2
_PICTURES_AT_ONCE: Final = 64  # which mostly wait for a decoder, apart from the instances
_RETRY_SECONDS: Final = 10
_BUSY_SECONDS: Final = 1.0  # between two tries of a picture in a ZIP
_ARCHIVES_AT_ONCE: Final = 2
_MEDIA_STORAGE_SOP_CLASS_UID: Final = 0x00020002  # PS3.10 table 7.1-1
_TRANSFER_SYNTAX_UID: Final = 0x00020010

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """The outcome for one file of an upload."""

    name: str  # as the sender calls it, after that of its ZIP: for the response, never stored
    result: Receipt | Problem


class Uploads:
    """Receives uploads and ingests each instance in them."""

    def __init__(
        self, settings: Settings, spool: Spool, ingest: Ingest, pictures: PictureConverter
    ) -> None:
        self._sop_classes = settings.dicom.sop_classes
        self._limits = settings.web
        self._spool = spool
        self._ingest = ingest
        self._pictures = pictures
        self._instances_limiter = CapacityLimiter(_INSTANCES_AT_ONCE)
        self._pictures_limiter = CapacityLimiter(_PICTURES_AT_ONCE)
        self._archives_limiter = CapacityLimiter(_ARCHIVES_AT_ONCE)

    async def receive(self, request: Request) -> list[Uploaded]:
        """Read the body and ingest each file in it, and in a ZIP in it; there is at least one.

        Raises:
            Problem: the body as a whole is refused; nothing of it is kept.
        """
        boundary = boundary_of(request)
        if boundary is None:
            raise Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Send one or more files as multipart/form-data. {ACCEPTED}",
            )
        with Parts.of(boundary, self._spool) as parts:
            await self._read(request, parts)
            if not parts.files:
                raise Problem(HTTPStatus.BAD_REQUEST, f"There is no file in it. {ACCEPTED}")
            return [each for part in parts.files for each in await self._take_sent(*part)]

    async def _read(self, request: Request, parts: Parts) -> None:
        try:
            async for piece in request.stream():
                await to_thread.run_sync(parts.feed, piece)
            parts.finish()
        except (FormParserError, ClientDisconnect) as exc:
            raise Problem(HTTPStatus.BAD_REQUEST, "The multipart body is damaged.") from exc
        except OSError as exc:
            raise self._no_room() from exc

    async def _take_sent(self, name: str, path: Path) -> list[Uploaded]:
        if not await to_thread.run_sync(_is_archive, path):
            return [Uploaded(name=name, result=await self.take(path))]
        try:
            archive = await to_thread.run_sync(
                Archive, path, self._limits, limiter=self._archives_limiter
            )
        except Refusal as exc:
            return [Uploaded(name=name, result=_counted(exc))]
        except OSError:
            return [Uploaded(name=name, result=_counted(self._no_room()))]
        with closing(archive):
            return [
                Uploaded(name=f"{name}/{each.name}", result=await self._take_entry(archive, each))
                for each in archive.entries
            ]

    async def _take_entry(self, archive: Archive, entry: Entry) -> Receipt | Problem:
        """Ingest one file of a ZIP; while the decoders are busy, wait and try again."""
        while True:
            result = await self._try_entry(archive, entry)
            is_busy = isinstance(result, Problem) and result.retry_after is not None
            if not is_busy or not archive.has_time():
                return _counted(result)
            await sleep(_BUSY_SECONDS)

    async def _try_entry(self, archive: Archive, entry: Entry) -> Receipt | Problem:
        upload = self._spool.incoming / f"{uuid.uuid4().hex}.upload"
        try:
            await to_thread.run_sync(
                archive.extract,
                entry,
                upload,
                self._spool.require_room,
                limiter=self._archives_limiter,
            )
            return await self._take(upload)
        except Refusal as exc:
            return exc
        except OSError:
            return self._no_room()
        finally:
            upload.unlink(missing_ok=True)

    async def take(self, upload: Path) -> Receipt | Problem:
        """Ingest one file of `spool.incoming`, no ZIP; it is gone from there afterwards."""
        return _counted(await self._take(upload))

    async def _take(self, upload: Path) -> Receipt | Problem:
        is_dicom = await to_thread.run_sync(_kind_of, upload) == "dicom"
        limiter = self._instances_limiter if is_dicom else self._pictures_limiter
        return await to_thread.run_sync(self._handle, upload, limiter=limiter)

    def _handle(self, upload: Path) -> Receipt | Problem:
        instance = upload.with_suffix(".instance")
        try:
            self._make_instance(upload, instance)
            self._require_negotiable(instance)
            result = self._ingest_instance(instance)
        except PictureError as exc:
            result = Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc), exc.reason)
        except OSError:
            result = self._no_room()
        except Problem as exc:
            result = exc
        finally:
            instance.unlink(missing_ok=True)
            upload.unlink(missing_ok=True)
        return result

    def _make_instance(self, upload: Path, instance: Path) -> None:
        kind = _kind_of(upload)
        if kind is None:
            raise not_taken(_first_bytes(upload))
        if kind == "dicom":
            upload.rename(instance)
        else:
            self._convert(upload, instance)

    def _convert(self, picture: Path, instance: Path) -> None:
        try:
            self._pictures.convert(picture, instance)
        except DecodersBusyError as exc:
            raise _busy() from exc
        except DecodersLostError as exc:
            log.critical("decoders_lost")
            os.kill(os.getpid(), signal.SIGTERM)  # drain, and be started anew
            raise _busy() from exc
        except HandlerError as exc:
            log.exception("conversion_failed")
            sentence = "The picture cannot be converted; the log has the event."
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from exc

    def _require_negotiable(self, instance: Path) -> None:
        with instance.open("rb") as stream, suppress(UndecodableError):  # the ingest rejects it
            meta = read_file_meta(stream).meta
            sop_class_uid = identifier(meta, _MEDIA_STORAGE_SOP_CLASS_UID)
            if sop_class_uid == MediaStorageDirectoryStorage:
                raise _directory()
            if sop_class_uid not in self._sop_classes:
                raise _not_accepted("SOP class", "Send the radiograph itself: CR, DX or a picture.")
            if identifier(meta, _TRANSFER_SYNTAX_UID) not in TRANSFER_SYNTAXES:
                raise _not_accepted("transfer syntax", "Export it uncompressed, and send that.")

    def _ingest_instance(self, instance: Path) -> Receipt | Problem:
        outcome = self._ingest.receive(instance, source=Source.UPLOAD)
        if isinstance(outcome, Receipt):
            return outcome
        return Problem(self._status(outcome), EXPLANATIONS[outcome.reason], outcome.reason)

    def _status(self, rejection: Rejection) -> HTTPStatus:
        if rejection.reason is Reason.INTERNAL_ERROR:
            return HTTPStatus.INTERNAL_SERVER_ERROR
        if rejection.reason is not Reason.OUT_OF_RESOURCES:
            return HTTPStatus.UNPROCESSABLE_ENTITY
        is_full = not self._spool.has_room()  # else the ledger did not answer
        return HTTPStatus.INSUFFICIENT_STORAGE if is_full else HTTPStatus.SERVICE_UNAVAILABLE

    def _no_room(self) -> Problem:
        reason = Reason.OUT_OF_RESOURCES
        return Problem(HTTPStatus.INSUFFICIENT_STORAGE, EXPLANATIONS[reason], reason)


def _first_bytes(upload: Path) -> bytes:
    with upload.open("rb") as stream:
        return stream.read(SNIFFED_BYTES)


def _kind_of(upload: Path) -> Literal["dicom", "png", "jpeg"] | None:
    return kind_of(_first_bytes(upload))


def _is_archive(upload: Path) -> bool:
    """Return whether a file is a ZIP; one that is DICOM as well is DICOM."""
    first_bytes = _first_bytes(upload)
    return kind_of(first_bytes) is None and is_zip(first_bytes)


def _busy() -> Problem:
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Other pictures are being converted; send it again later.",
        "Try it again in a moment.",
        retry_after=_RETRY_SECONDS,
    )


def _not_accepted(what: str, advice: str) -> Problem:
    detail = f"The instance's {what} is not taken here."
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, detail, advice)


def _directory() -> Problem:
    return Skipped(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "It is the directory of a DICOM medium (DICOMDIR), which holds no image: passed over.",
        "Nothing: the images are files of their own.",
        Reason.NOT_AN_IMAGE,
    )


def _counted(result: Receipt | Problem) -> Receipt | Problem:
    outcome = _outcome(result)
    UPLOADS.labels(outcome=outcome).inc()
    log.info("upload_taken", outcome=outcome)
    return result


def _outcome(result: Receipt | Problem) -> str:
    if isinstance(result, Problem):
        return "rejected"
    return "repeated" if result.repeated else "received"
