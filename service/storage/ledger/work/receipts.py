"""Record received instances as jobs; those that arrive at the same time share a transaction.

What a transaction costs, its fsync above all, is then paid once for several associations. None
waits for another to arrive: what comes while a transaction is written is in the next one. The
statements are built once, because building them would take longer than executing them.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, event, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry

from service.dicom.data_set_digest import is_sha256
from service.domain.job import Instance, JobState, Receipt
from service.domain.patient import Patient
from service.domain.reasons import Reason
from service.storage.ledger.clock import Clock, Moment
from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.instance.patients import record_patients
from service.storage.ledger.mapping import append_events, event_row
from service.storage.ledger.prepared import PreparedInsert, PreparedSelect
from service.storage.ledger.tables import JOBS, ORDINARY, UID, URGENT
from service.storage.ledger.tallies import count_received

RECORDED_AT_ONCE: Final = 64  # instances in one transaction

_IN_MEMORY: Final = "lobar_journal_in_memory"
_UNTRIED: Final = {"attempt": 0, "attempt_base": 0, "faults": 0, "repeats": 0}
_INSERT: Final = PreparedInsert(
    JOBS,
    (
        *("id", "sop_instance_uid", "sop_class_uid", "series_instance_uid", "study_instance_uid"),
        *("transfer_syntax_uid", "digest", "size_bytes", "calling_ae_title", "source", "corrects"),
        *("state", "due_at", "received_at", "arrived_at", "asked_at", "priority", *_UNTRIED),
    ),
)
_COUNT_REPEAT: Final = (  # in the row, so that the ledger does not grow
    update(JOBS)
    .where(JOBS.c.id == bindparam("job_id"))
    .values(repeats=JOBS.c.repeats + 1, last_repeated_at=bindparam("now"))
)


@dataclass(slots=True)
class _Request:
    """An instance to record, and what came of it."""

    instance: Instance
    patient: Patient | None
    sha256: Callable[[], str] | None
    at: Moment
    receipt: Receipt | None = None
    error: LedgerError | None = None

    @property
    def is_done(self) -> bool:
        return self.receipt is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class _Standing:
    """A job of an instance that was received before."""

    job_id: str
    digest: str
    lacks_bytes: bool
    is_purged: bool

    @classmethod
    def of(
        cls, job_id: str, digest: str, state: str, reason: str | None, purged_at: float | None
    ) -> "_Standing":
        return cls(
            job_id=job_id,
            digest=digest,
            lacks_bytes=state == JobState.PARKED and reason == Reason.BYTES_MISSING,
            is_purged=purged_at is not None,
        )


class Receipts:
    """Records received instances, for all threads of a process.

    Args:
        database: The ledger's.
        clock: When they are received.
        at_once: How many may share a transaction; 1 gives each its own.
    """

    def __init__(self, database: Database, clock: Clock, at_once: int = RECORDED_AT_ONCE) -> None:
        self._database = database
        self._clock = clock
        self._at_once = at_once
        self._requests: list[_Request] = []
        self._is_listening = False
        self._queueing = threading.Lock()
        self._writing = threading.Lock()

    def record(
        self, instance: Instance, patient: Patient | None, sha256: Callable[[], str] | None = None
    ) -> Receipt:
        """Record a received instance as a job; durable when this returns.

        Args:
            instance: The instance.
            patient: What its header says of the patient and the study.
            sha256: Returns the SHA-256 of its bytes, for jobs that are named by one.

        Raises:
            LedgerError: Nothing was recorded.
        """
        request = _Request(instance, patient, sha256, self._clock())
        with self._queueing:
            self._requests.append(request)
            if self._database.is_sqlite and not self._is_listening:
                event.listen(self._database.engine, "checkout", _keep_journal_in_memory)
                self._is_listening = True
        while not request.is_done:
            with self._writing:
                if not request.is_done:  # else another thread has written it meanwhile
                    self._write_next()
        if request.receipt is None:
            raise request.error or LedgerError("the instance was not recorded")
        return request.receipt

    def _write_next(self) -> None:
        with self._queueing:
            requests = self._requests[: self._at_once]
            del self._requests[: self._at_once]
        try:
            self._write(requests)
        except LedgerError as exc:
            if isinstance(exc.__cause__, IntegrityError):
                self._write_each(requests)
                return
            for request in requests:
                request.error = exc
        except BaseException as exc:
            for request in requests:
                request.error = LedgerError(type(exc).__name__)
            raise

    def _write_each(self, requests: Sequence[_Request]) -> None:
        """Record each in a transaction of its own, so that one cannot fail the others.

        Another process recorded the bytes of one at the same time: its row is there now.
        """
        for request in requests:
            try:
                self._write([request])
            except LedgerError as exc:
                request.error = exc

    def _write(self, requests: Sequence[_Request]) -> None:
        with self._database.write() as connection:
            receipts = _record(connection, requests)
        for request, receipt in zip(requests, receipts, strict=True):
            request.receipt = receipt


def _keep_journal_in_memory(connection: Any, record: ConnectionPoolEntry, *_: object) -> None:  # noqa: ANN401 -- a DBAPI connection
    """Let SQLite keep in memory what it needs to undo one statement.

    The pages that a new job changes in the table and its indexes are about the 64 KiB beyond which
    SQLite makes a file for them, and a file made and removed for most instances costs more than
    the row. Those of a whole transaction are in the write-ahead log in any case.
    """
    if _IN_MEMORY not in record.info:
        record.info[_IN_MEMORY] = True
        connection.execute("PRAGMA temp_store=MEMORY")


def _record(connection: Connection, requests: Sequence[_Request]) -> list[Receipt]:
    """Record instances in the order in which they came; return a receipt for each."""
    standing = _standing(connection, {each.instance.sop_instance_uid for each in requests})
    receipts: list[Receipt] = []
    new: list[tuple[_Request, Receipt]] = []
    for request in requests:
        jobs = standing.setdefault(request.instance.sop_instance_uid, [])
        same = _of_same_bytes(request, jobs)
        if same is not None:
            repeat = {"job_id": same.job_id, "now": request.at.wall}
            _insert(connection, new)  # the job of a repeat may be among them
            new.clear()
            connection.execute(_COUNT_REPEAT, repeat)
            receipts.append(_repeated(same))
            continue
        receipt = Receipt(job_id=request.instance.job_id, corrects=jobs[0].job_id if jobs else None)
        jobs.append(
            _Standing(receipt.job_id, request.instance.digest, lacks_bytes=False, is_purged=False)
        )
        new.append((request, receipt))
        receipts.append(receipt)
    _insert(connection, new)
    return receipts


def _of_same_bytes(request: _Request, jobs: Sequence[_Standing]) -> _Standing | None:
    """Return the job that was received with the same bytes, if there is one.

    Raises:
        LedgerError: The bytes could not be read again.
    """
    names = {request.instance.digest}
    if request.sha256 is not None and any(is_sha256(job.digest) for job in jobs):
        try:
            names.add(request.sha256())
        except OSError as exc:
            raise LedgerError("an instance could not be read again") from exc
    return next((job for job in jobs if job.digest in names), None)


def _standing(connection: Connection, uids: set[str]) -> dict[str, list[_Standing]]:
    """Return the jobs of instances with these UIDs, the oldest first."""
    wanted = sorted(uids)
    number = 1 << (len(wanted) - 1).bit_length()
    wanted += wanted[-1:] * (number - len(wanted))
    values = {f"uid_{place}": uid for place, uid in enumerate(wanted)}
    found: dict[str, list[_Standing]] = {}
    for uid, *row in _standing_of(number).run(connection, values):
        found.setdefault(uid, []).append(_Standing.of(*row))
    return found


@cache
def _standing_of(number: int) -> PreparedSelect:
    """Return the query for so many UIDs, a power of two: few numbers, so few statements."""
    uids = [bindparam(f"uid_{place}", type_=UID) for place in range(number)]
    return PreparedSelect(
        select(
            *(JOBS.c.sop_instance_uid, JOBS.c.id, JOBS.c.digest),
            *(JOBS.c.state, JOBS.c.reason, JOBS.c.purged_at),
        )
        .where(JOBS.c.sop_instance_uid.in_(uids))
        .order_by(JOBS.c.arrived_at, JOBS.c.id)
    )


def _repeated(standing: _Standing) -> Receipt:
    return Receipt(
        job_id=standing.job_id,
        repeated=True,
        lacks_bytes=standing.lacks_bytes,
        is_purged=standing.is_purged,
    )


def _insert(connection: Connection, new: Sequence[tuple[_Request, Receipt]]) -> None:
    if not new:
        return
    _INSERT.run(connection, [_row(request, receipt) for request, receipt in new])
    count_received(connection, len(new))
    append_events(connection, (_event(request, receipt) for request, receipt in new))
    record_patients(
        connection,
        {
            request.instance.job_id: request.patient
            for request, _ in new
            if request.patient is not None
        },
    )


def _row(request: _Request, receipt: Receipt) -> dict[str, Any]:
    instance, at = request.instance, request.at
    return {
        **_UNTRIED,
        "id": instance.job_id,
        "sop_instance_uid": instance.sop_instance_uid,
        "sop_class_uid": instance.sop_class_uid,
        "series_instance_uid": instance.series_instance_uid,
        "study_instance_uid": instance.study_instance_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "digest": instance.digest,
        "size_bytes": instance.size_bytes,
        "calling_ae_title": instance.calling_ae_title,
        "source": instance.source,
        "corrects": receipt.corrects,
        "state": str(JobState.RECEIVED),
        "due_at": at.scheduled,
        "received_at": at.wall,
        "arrived_at": at.scheduled,
        "asked_at": at.wall,
        "priority": URGENT if instance.is_urgent else ORDINARY,
    }


def _event(request: _Request, receipt: Receipt) -> dict[str, Any]:
    instance = request.instance
    return event_row(
        instance.job_id,
        request.at,
        str(JobState.RECEIVED),
        source=str(instance.source),
        size_bytes=instance.size_bytes,
        corrects=receipt.corrects,
        urgent=instance.is_urgent or None,
    )
