"""Ingest an instance from listener or upload: review it, spool it, record it, notify the workers.

When `receive` returns a receipt, the instance is durable and will get an outcome: its bytes are in
the inbox, fsynced, and its row in the ledger is committed. After a rejection nothing is kept.
"""

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from service.crash_points import CrashPoint, passed
from service.dicom.byte_sources import TooLargeError, TruncatedError, UndecodableError
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

INFLATED_BYTES: Final = 1 << 30

_MEDIA_STORAGE_SOP_CLASS_UID: Final = 0x00020002  # PS3.10 table 7.1-1
_MEDIA_STORAGE_SOP_INSTANCE_UID: Final = 0x00020003
_TRANSFER_SYNTAX_UID: Final = 0x00020010

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
class _Examined:
    accepted: Accepted
    patient: Patient
    transfer_syntax_uid: str
    sha256: str
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
        sha256: str | None = None,
    ) -> Receipt | Rejection:
        """Accept or reject a Part 10 file; never raises.

        Args:
            arrived: the file, in `spool.incoming`; it is gone from there afterwards.
            command: the UIDs that the sender stated; None reads them from the file meta
                information.
            source: where the instance comes from.
            calling_ae_title: the sender's, if it has one.
            sha256: digest of the data set, if known.
        """
        started = time.perf_counter()
        sender = _Sender(source=source, calling_ae_title=calling_ae_title)
        try:
            examined = self._examine(arrived, command, sha256)
            if isinstance(examined, Rejection):
                return self.refuse(examined, source=source, calling_ae_title=calling_ae_title)
            receipt = self._keep(arrived, examined, sender)
        except Exception as exc:  # noqa: BLE001 -- the sender gets a response in any case
            return self.refuse(exc, source=source, calling_ae_title=calling_ae_title)
        finally:
            with contextlib.suppress(OSError):  # the relay sweeps what a failing disk leaves
                arrived.unlink(missing_ok=True)
        RECEIVE_SECONDS.observe(time.perf_counter() - started)
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

    def _examine(
        self, arrived: Path, command: StoreCommand | None, sha256: str | None
    ) -> _Examined | Rejection:
        """Read the facts to record in the ledger, or reject the file."""
        with arrived.open("rb") as stream:
            part10 = read_file_meta(stream)
            transfer_syntax_uid = identifier(part10.meta, _TRANSFER_SYNTAX_UID)
            if not is_uid(transfer_syntax_uid):
                raise UndecodableError
            header = read_header(
                stream,
                transfer_syntax_uid,
                size_bytes=part10.size_bytes,
                tags=IDENTIFIERS,
                most_bytes=self._inflated_bytes,
                texts=PATIENT_TAGS,
                longest_text=LONGEST_TEXT,
            )
            reviewed = review(header, command or _stated_command(part10))
            if isinstance(reviewed, Rejection):
                return reviewed
            if sha256 is None:
                stream.seek(part10.offset)
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return _Examined(
            accepted=reviewed,
            patient=read_patient(header),
            transfer_syntax_uid=transfer_syntax_uid,
            sha256=sha256,
            size_bytes=part10.size_bytes,
        )

    def _keep(self, arrived: Path, examined: _Examined, sender: _Sender) -> Receipt:
        """Make the file durable, record it in the ledger, notify the workers."""
        is_urgent = sender.calling_ae_title in self._urgent_ae_titles
        instance = _instance(examined, sender, is_urgent=is_urgent)
        self._spool.require_room()
        if self._ledger_is_in_doubt:
            self._ledger.jobs.exists(
                instance.job_id
            )  # probe first: failure must leave no spooled file
        self._spool.accept(instance.job_id, arrived)
        passed(CrashPoint.RECEIVE_SPOOLED)
        receipt = self._commit(instance, examined.patient)
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

    def _commit(self, instance: Instance, patient: Patient) -> Receipt:
        """Record the spooled instance in the ledger; discard its bytes if that fails.

        A commit whose response was lost is still a commit. While the ledger cannot be asked whether
        the row exists, the bytes stay, and the relay's sweep asks again.
        """
        try:
            receipt = self._ledger.jobs.receive(instance, patient)
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


def _instance(examined: _Examined, sender: _Sender, *, is_urgent: bool) -> Instance:
    return Instance(
        job_id=uuid.uuid4().hex,
        sop_instance_uid=examined.accepted.sop_instance_uid,
        sop_class_uid=examined.accepted.sop_class_uid,
        series_instance_uid=examined.accepted.series_instance_uid,
        study_instance_uid=examined.accepted.study_instance_uid,
        transfer_syntax_uid=examined.transfer_syntax_uid,
        sha256=examined.sha256,
        size_bytes=examined.size_bytes,
        calling_ae_title=sender.calling_ae_title,
        source=sender.source,
        is_urgent=is_urgent,
    )


def _stated_command(part10: Part10File) -> StoreCommand:
    return StoreCommand(
        sop_class_uid=identifier(part10.meta, _MEDIA_STORAGE_SOP_CLASS_UID),
        sop_instance_uid=identifier(part10.meta, _MEDIA_STORAGE_SOP_INSTANCE_UID),
    )


def _reason(error: Exception) -> Reason:
    return next(reason for kind, reason in _REASONS if isinstance(error, kind))
