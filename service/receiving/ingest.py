"""What both doors do with an instance that has arrived: review, spool, ledger, ring.

When `receive` gives a receipt the instance is promised an outcome: its bytes are in the inbox,
fsynced, and the ledger's row is committed. When it gives a rejection nothing of it is kept.
"""

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from service.dicom.byte_sources import TooLargeError, TruncatedError, UndecodableError
from service.dicom.element_reader import Part10File, read_file_meta, read_header
from service.dicom.uids import identifier, is_uid
from service.domain.job import Instance, Receipt, Source, TransitionError
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
    transfer_syntax_uid: str
    sha256: str
    size_bytes: int


class Ingest:
    """The way from an arrived file to a promise.

    `known_ae_titles` may be named in the log; any other calling AE title is a stranger's text.
    """

    def __init__(
        self,
        spool: Spool,
        ledger: Ledger,
        notify: Callable[[], None],
        *,
        inflated_bytes: int = INFLATED_BYTES,
        known_ae_titles: Collection[str] = (),
    ) -> None:
        self._spool = spool
        self._ledger = ledger
        self._notify = notify
        self._inflated_bytes = inflated_bytes
        self._known_ae_titles = frozenset(known_ae_titles)
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
        """Take or refuse the Part 10 file `arrived`, which lies in `spool.incoming`; never raises.

        The file is gone from there when this returns. Without a command, what the file's meta
        information says of the data set is held against it. `sha256` is the data set's, if known.
        """
        started = time.perf_counter()
        sender = _Sender(source=source, calling_ae_title=calling_ae_title)
        try:
            examined = self._examine(arrived, command, sha256)
            if isinstance(examined, Rejection):
                return self.refuse(examined, source=source, calling_ae_title=calling_ae_title)
            receipt = self._keep(arrived, examined, sender)
        except Exception as exc:  # noqa: BLE001 -- whoever waits outside must have an answer
            return self.refuse(exc, source=source, calling_ae_title=calling_ae_title)
        finally:
            with contextlib.suppress(OSError):  # the relay sweeps what a broken disk leaves here
                arrived.unlink(missing_ok=True)
        RECEIVE_SECONDS.observe(time.perf_counter() - started)
        return receipt

    def refuse(
        self, why: Rejection | Exception, *, source: Source, calling_ae_title: str = ""
    ) -> Rejection:
        """Count and log a refusal, whatever led to it, and give what the sender is answered."""
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
        """Drop bytes that we have already, or give them to the job that lost its own."""
        if not receipt.lacks_bytes:
            self._spool.discard(arrived_as)
            return
        self._spool.accept(receipt.job_id, self._spool.inbox(arrived_as))
        with contextlib.suppress(TransitionError):  # somebody requeued it in the meantime
            self._ledger.jobs.requeue(receipt.job_id, NO_ROUTES)
        self._notify()

    def _examine(
        self, arrived: Path, command: StoreCommand | None, sha256: str | None
    ) -> _Examined | Rejection:
        """Read what the ledger must know of the file, or why it is refused."""
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
            )
            verdict = review(header, command or _command_of(part10))
            if isinstance(verdict, Rejection):
                return verdict
            if sha256 is None:
                stream.seek(part10.offset)
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return _Examined(
            accepted=verdict,
            transfer_syntax_uid=transfer_syntax_uid,
            sha256=sha256,
            size_bytes=part10.size_bytes,
        )

    def _keep(self, arrived: Path, examined: _Examined, sender: _Sender) -> Receipt:
        """Make the file durable, have the ledger promise it an outcome, ring."""
        instance = _instance(examined, sender)
        self._spool.require_room()
        if self._ledger_is_in_doubt:
            self._ledger.jobs.exists(instance.job_id)  # raises before there is anything to regret
        self._spool.accept(instance.job_id, arrived)
        receipt = self._commit(instance)
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

    def _commit(self, instance: Instance) -> Receipt:
        """Have the ledger promise what is spooled; without a promise its bytes go.

        A commit whose answer was lost is a promise all the same. While the ledger does not even
        say whether there is one, the bytes stay; the relay's sweep asks again.
        """
        try:
            receipt = self._ledger.jobs.receive(instance)
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


def _instance(examined: _Examined, sender: _Sender) -> Instance:
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
    )


def _command_of(part10: Part10File) -> StoreCommand:
    return StoreCommand(
        sop_class_uid=identifier(part10.meta, _MEDIA_STORAGE_SOP_CLASS_UID),
        sop_instance_uid=identifier(part10.meta, _MEDIA_STORAGE_SOP_INSTANCE_UID),
    )


def _reason(error: Exception) -> Reason:
    return next(reason for kind, reason in _REASONS if isinstance(error, kind))
