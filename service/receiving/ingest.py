"""Ingest an instance from listener or upload: review it, spool it, record it, notify the workers.

When `receive` returns a receipt, the instance is durable and will get an outcome: its bytes are in
the inbox, fsynced, and its row in the ledger is committed. After a rejection nothing is kept.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from service.crash_points import CrashPoint, passed
from service.dicom.byte_sources import TooLargeError, TruncatedError, UndecodableError
from service.dicom.data_set_digest import digest_of, sha256_of
from service.dicom.element_reader import Part10File, read_file_meta, read_header
from service.dicom.patient_attributes import LONGEST_TEXT, PATIENT_TAGS, read_patient
from service.dicom.uids import identifier, is_uid
from service.domain.job import Instance, Receipt, Source, TransitionError
from service.domain.patient import Patient
from service.domain.reasons import Reason
from service.domain.routing import NO_ROUTES
from service.receiving.acceptance import (
    IDENTIFIERS,
    Accepted,
    Rejection,
    StoreCommand,
    reject,
    review,
)
from service.storage.ledger import Ledger, LedgerError
from service.storage.spool import Spool
from service.telemetry.metrics import (
    INSTANCES_RECEIVED,
    INSTANCES_REJECTED,
    INSTANCES_REPEATED,
    RECEIVE_SECONDS,
    RECEIVED_BYTES,
)
from service.telemetry.tracing.spans import Step, record_span

INFLATED_BYTES: Final = 1 << 30

_MEDIA_STORAGE_SOP_CLASS_UID: Final = 0x00020002  # PS3.10 table 7.1-1
_MEDIA_STORAGE_SOP_INSTANCE_UID: Final = 0x00020003
_TRANSFER_SYNTAX_UID: Final = 0x00020010
_NOTHING_STATED: Final = StoreCommand(sop_class_uid="", sop_instance_uid="")

_REASONS: Final[tuple[tuple[type[Exception], Reason], ...]] = (
    (TruncatedError, Reason.TRUNCATED),
    (UndecodableError, Reason.UNDECODABLE),
    (TooLargeError, Reason.OUT_OF_RESOURCES),
    (OSError, Reason.OUT_OF_RESOURCES),
    (LedgerError, Reason.OUT_OF_RESOURCES),
    (Exception, Reason.INTERNAL_ERROR),
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sender:
    source: Source
    calling_ae_title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What is known of a Part 10 file without reading it, because it was written here."""

    stream: BinaryIO  # still open
    offset: int  # bytes before the data set
    transfer_syntax_uid: str
    digest: str  # of the data set
    begun_at: float | None = None  # when its first bytes were awaited, by the monotonic clock


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examined:
    accepted: Accepted
    patient: Patient
    transfer_syntax_uid: str
    digest: str
    offset: int  # bytes before the data set
    size_bytes: int


class Ingest:
    """Ingests received files.

    Args:
        spool: where the bytes are kept.
        ledger: where the job is recorded.
        notify: wakes the workers.
        inflated_bytes: limit of the size that a deflated data set may inflate to.
        known_ae_titles: calling AE titles that may be logged; any other is unchecked text.
        urgent_ae_titles: calling AE titles whose instances are urgent.
    """

    def __init__(
        self,
        spool: Spool,
        ledger: Ledger,
        notify: Callable[[], None],
        *,
        inflated_bytes: int = INFLATED_BYTES,
        known_ae_titles: Collection[str] = (),
        urgent_ae_titles: Collection[str] = (),
    ) -> None:
        self._spool = spool
        self._ledger = ledger
        self._notify = notify
        self._inflated_bytes = inflated_bytes
        self._known_ae_titles = frozenset(known_ae_titles)
        self._urgent_ae_titles = frozenset(urgent_ae_titles)
        self._ledger_is_in_doubt = False

    def receive(
        self,
        arrived: Path,
        command: StoreCommand | None = None,
        *,
        source: Source,
        calling_ae_title: str = "",
        written: Written | None = None,
    ) -> Receipt | Rejection:
        """Accept or reject a Part 10 file; never raises.

        Args:
            arrived: the file, in `spool.incoming`; it is gone from there afterwards.
            command: the UIDs that the sender stated; None reads them from the file meta
                information.
            source: where the instance comes from.
            calling_ae_title: the sender's, if it has one.
            written: what is known of the file, where this process wrote it; the caller closes it.
        """
        started = time.monotonic()
        sender = _Sender(source=source, calling_ae_title=calling_ae_title)
        is_kept = False
        try:
            if written is None:
                examined = self._read_and_examine(arrived, command)
            else:
                written.stream.seek(0, SEEK_END)
                size = written.stream.tell() - written.offset
                examined = self._examine(written, size, command)
            if isinstance(examined, Rejection):
                return self.refuse(examined, source=source, calling_ae_title=calling_ae_title)
            receipt = self._keep(arrived, examined, sender, written)
            is_kept = True  # and moved away
        except Exception as exc:  # noqa: BLE001 -- the sender gets a response in any case
            return self.refuse(exc, source=source, calling_ae_title=calling_ae_title)
        finally:
            if not is_kept:
                with contextlib.suppress(OSError):  # the relay sweeps what a failing disk leaves
                    arrived.unlink(missing_ok=True)
        ended = time.monotonic()
        RECEIVE_SECONDS.observe(ended - started)
        begun = started if written is None or written.begun_at is None else written.begun_at
        _record_spans(receipt, examined, source, ended - begun, ended - started)
        return receipt

    def refuse(
        self, why: Rejection | Exception, *, source: Source, calling_ae_title: str = ""
    ) -> Rejection:
        """Count and log a rejection or an error; return the rejection for the response."""
        error = None if isinstance(why, Rejection) else why
        rejection = why if isinstance(why, Rejection) else reject(_reason(why))
        INSTANCES_REJECTED.labels(reason=rejection.reason).inc()
        log.warning(
            "instance_rejected",
            reason=rejection.reason,
            status=f"0x{rejection.status:04X}",
            source=source,
            calling_ae_title=self._if_known(calling_ae_title),
            exc_info=error,
        )
        return rejection

    def _restore(self, arrived_as: str, receipt: Receipt) -> None:
        """Discard bytes that are stored already, or attach them to the job that has none."""
        kept = self._spool.inbox(arrived_as)
        if receipt.is_purged:
            place = partial(self._spool.accept, receipt.job_id, kept)
            if not self._ledger.retention.restore(receipt.job_id, place):
                self._spool.discard(arrived_as)  # another association was first
            return
        if not receipt.lacks_bytes:
            self._spool.discard(arrived_as)
            return
        self._spool.accept(receipt.job_id, kept)
        passed(CrashPoint.RECEIVE_RESTORED)
        with contextlib.suppress(TransitionError):  # it was requeued in the meantime
            self._ledger.jobs.requeue(receipt.job_id, NO_ROUTES)
        self._notify()

    def _read_and_examine(
        self, arrived: Path, command: StoreCommand | None
    ) -> _Examined | Rejection:
        """Read the file meta information and the digest of a file, and examine it."""
        with arrived.open("rb") as stream:
            part10 = read_file_meta(stream)
            stream.seek(part10.offset)
            known = Written(
                stream=stream,
                offset=part10.offset,
                transfer_syntax_uid=identifier(part10.meta, _TRANSFER_SYNTAX_UID),
                digest=digest_of(stream),
            )
            return self._examine(known, part10.size_bytes, command or _stated_command(part10))

    def _examine(
        self, file: Written, size_bytes: int, command: StoreCommand | None
    ) -> _Examined | Rejection:
        """Read the facts to record in the ledger, or reject the file."""
        if not is_uid(file.transfer_syntax_uid):
            raise UndecodableError
        file.stream.seek(file.offset)
        header = read_header(
            file.stream,
            file.transfer_syntax_uid,
            size_bytes=size_bytes,
            tags=IDENTIFIERS,
            most_bytes=self._inflated_bytes,
            texts=PATIENT_TAGS,
            longest_text=LONGEST_TEXT,
        )
        reviewed = review(header, command or _NOTHING_STATED)
        if isinstance(reviewed, Rejection):
            return reviewed
        return _Examined(
            accepted=reviewed,
            patient=read_patient(header),
            transfer_syntax_uid=file.transfer_syntax_uid,
            digest=file.digest,
            offset=file.offset,
            size_bytes=size_bytes,
        )

    def _keep(
        self, arrived: Path, examined: _Examined, sender: _Sender, written: Written | None
    ) -> Receipt:
        """Make the file durable, record it in the ledger, notify the workers."""
        is_urgent = sender.calling_ae_title in self._urgent_ae_titles
        instance = _instance(examined, sender, is_urgent=is_urgent)
        self._spool.require_room()
        if self._ledger_is_in_doubt:
            self._ledger.jobs.exists(
                instance.job_id
            )  # probe first: failure must leave no spooled file
        kept = self._spool.accept(instance.job_id, arrived, written.stream if written else None)
        passed(CrashPoint.RECEIVE_SPOOLED)
        receipt = self._commit(
            instance, examined.patient, partial(_sha256_of_data_set, kept, examined.offset)
        )
        passed(CrashPoint.RECEIVE_RECORDED)
        if receipt.repeated:
            self._restore(instance.job_id, receipt)
            INSTANCES_REPEATED.inc()
        else:
            self._notify()
            INSTANCES_RECEIVED.labels(source=sender.source).inc()
            RECEIVED_BYTES.inc(instance.size_bytes)
        log.info(
            "instance_repeated" if receipt.repeated else "instance_received",
            job_id=receipt.job_id,
            corrects=receipt.corrects,
            source=sender.source,
            size_bytes=instance.size_bytes,
            calling_ae_title=self._if_known(sender.calling_ae_title),
        )
        return receipt

    def _commit(self, instance: Instance, patient: Patient, sha256: Callable[[], str]) -> Receipt:
        """Record the spooled instance in the ledger; discard its bytes if that fails.

        A commit whose response was lost is still a commit. While the ledger cannot be asked whether
        the row exists, the bytes stay, and the relay's sweep asks again.
        """
        try:
            receipt = self._ledger.jobs.receive(instance, patient, sha256)
        except LedgerError:
            self._ledger_is_in_doubt = True
            if self._ledger.jobs.exists(instance.job_id):
                return Receipt(job_id=instance.job_id)
            self._spool.discard(instance.job_id)
            raise
        self._ledger_is_in_doubt = False
        return receipt

    def _if_known(self, ae_title: str) -> str | None:
        return ae_title if ae_title in self._known_ae_titles else None


def _sha256_of_data_set(path: Path, offset: int) -> str:
    with path.open("rb") as stream:
        stream.seek(offset)
        return sha256_of(stream)


def _instance(examined: _Examined, sender: _Sender, *, is_urgent: bool) -> Instance:
    return Instance(
        job_id=uuid.uuid4().hex,
        sop_instance_uid=examined.accepted.sop_instance_uid,
        sop_class_uid=examined.accepted.sop_class_uid,
        series_instance_uid=examined.accepted.series_instance_uid,
        study_instance_uid=examined.accepted.study_instance_uid,
        transfer_syntax_uid=examined.transfer_syntax_uid,
        digest=examined.digest,
        size_bytes=examined.size_bytes,
        calling_ae_title=sender.calling_ae_title,
        source=sender.source,
        is_urgent=is_urgent,
    )


def _record_spans(
    receipt: Receipt, examined: _Examined, source: Source, seconds: float, keeping_seconds: float
) -> None:
    """Record the root span of a job, from its first byte on, and within it what made it durable.

    A repeat has a span of its own in the trace of the job that it repeats.
    """
    record_span(
        receipt.job_id,
        Step.RECEIVE,
        seconds,
        is_root=not receipt.repeated,
        source=source,
        size_bytes=examined.size_bytes,
        transfer_syntax_uid=examined.transfer_syntax_uid,
        repeated=receipt.repeated,
    )
    record_span(receipt.job_id, Step.KEEP, keeping_seconds)


def _stated_command(part10: Part10File) -> StoreCommand:
    return StoreCommand(
        sop_class_uid=identifier(part10.meta, _MEDIA_STORAGE_SOP_CLASS_UID),
        sop_instance_uid=identifier(part10.meta, _MEDIA_STORAGE_SOP_INSTANCE_UID),
    )


def _reason(error: Exception) -> Reason:
    return next(reason for kind, reason in _REASONS if isinstance(error, kind))
