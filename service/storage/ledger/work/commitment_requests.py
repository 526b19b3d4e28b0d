"""Senders' requests for storage commitment, kept until the result is reported (PS3.4 annex J)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, func, insert, select
from sqlalchemy.exc import IntegrityError

from service.domain.delivery import Reference
from service.storage.ledger.clock import Clock
from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.mapping import append_event
from service.storage.ledger.tables import JOBS, REQUESTS
from service.storage.ledger.work.leasing import LEASED_REQUESTS

MOST_OPEN: Final = 1_000  # requests of one sender whose result was not reported yet
_AT_ONCE: Final = 500  # values in one query


class InUseError(Exception):
    """The sender has an open request with the same Transaction UID for other instances."""


class TooManyError(Exception):
    """The sender has too many open requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """A sender's request for commitment whose result was not reported yet."""

    id: int
    transaction_uid: str
    calling_ae_title: str
    instances: tuple[Reference, ...]
    attempt: int
    refusals: int
    since: float  # when it was received, by the scheduling clock: giving up counts from here


class CommitmentRequests:
    """The open requests, one row each: leased like the jobs, and deleted once closed."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def receive(
        self, calling_ae_title: str, transaction_uid: str, instances: Sequence[Reference]
    ) -> None:
        """Record a request; durable when this returns. An open request repeated is the same.

        Raises:
            InUseError: The Transaction UID is that of an open request for other instances.
            TooManyError: The sender has too many open requests.
            LedgerError: Nothing was recorded.
        """
        named = [[each.sop_class_uid, each.sop_instance_uid] for each in instances]
        try:
            self._receive(calling_ae_title, transaction_uid, named)
        except LedgerError as exc:
            if not isinstance(exc.__cause__, IntegrityError):
                raise
            # another association recorded the same request at the same time: its row is there now
            self._receive(calling_ae_title, transaction_uid, named)

    def _receive(
        self, calling_ae_title: str, transaction_uid: str, instances: list[list[str]]
    ) -> None:
        now = self._clock()
        of_sender = REQUESTS.c.calling_ae_title == calling_ae_title
        with self._database.write() as connection:
            standing = connection.execute(
                select(REQUESTS.c.instances).where(
                    of_sender, REQUESTS.c.transaction_uid == transaction_uid
                )
            ).scalar()
            if standing == instances:
                return
            if standing is not None:
                raise InUseError
            count = select(func.count()).select_from(REQUESTS).where(of_sender)
            if (connection.execute(count).scalar() or 0) >= MOST_OPEN:
                raise TooManyError
            connection.execute(
                insert(REQUESTS).values(
                    transaction_uid=transaction_uid,
                    calling_ae_title=calling_ae_title,
                    instances=instances,
                    due_at=now.scheduled,
                    since=now.scheduled,
                )
            )

    def lease(self, holder: str, limit: int, *, lease_seconds: float) -> list[OpenRequest]:
        """Lease up to `limit` requests whose result is to be reported now, in order of receipt."""
        now = self._clock()
        with self._database.write() as connection:
            due = LEASED_REQUESTS.lock_due(connection, select(REQUESTS), now.scheduled, limit)
            leased = LEASED_REQUESTS.lease(
                connection, list(map(_request_of, due)), holder, now.scheduled + lease_seconds
            )
        return sorted(map(_request_of, leased), key=lambda each: each.id)

    def close(self, request: OpenRequest, job_ids: Iterable[str]) -> None:
        """Close a request whose result the sender received.

        Args:
            request: The request as leased.
            job_ids: The jobs of the committed instances; each gets an event in its trace.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock()
        with self._database.write() as connection:
            LEASED_REQUESTS.delete_if_current(connection, request)
            for job_id in job_ids:
                append_event(
                    connection,
                    job_id,
                    now,
                    "instance-committed",
                    to=request.calling_ae_title,
                    transaction_uid=request.transaction_uid,
                )

    def postpone(self, request: OpenRequest, *, again_in: float, refused: bool = False) -> None:
        """Release a request, due again in `again_in` seconds; count a refusal by the sender.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock()
        with self._database.write() as connection:
            LEASED_REQUESTS.write_if_current(
                connection,
                request,
                due_at=now.scheduled + again_in,
                refusals=request.refusals + refused,
            )

    def give_up(self, request: OpenRequest) -> None:
        """Close a request whose result could not be reported.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        with self._database.write() as connection:
            LEASED_REQUESTS.delete_if_current(connection, request)

    def release(self, holder: str) -> int:
        """End the leases of processes whose name begins with `holder`; return how many."""
        now = self._clock()
        with self._database.write() as connection:
            return len(LEASED_REQUESTS.release(connection, holder, now.scheduled))

    def jobs_of(self, instances: Sequence[Reference]) -> dict[str, list[tuple[str, str]]]:
        """Return the jobs of instances.

        Returns:
            (job id, SOP Class UID) of every job, by SOP Instance UID; instances that were never
            received are missing.
        """
        found: dict[str, list[tuple[str, str]]] = {}
        uids = [each.sop_instance_uid for each in instances]
        query = select(JOBS.c.sop_instance_uid, JOBS.c.id, JOBS.c.sop_class_uid)
        with self._database.read() as connection:
            for start in range(0, len(uids), _AT_ONCE):
                named = JOBS.c.sop_instance_uid.in_(uids[start : start + _AT_ONCE])
                for row in connection.execute(query.where(named)):
                    found.setdefault(row.sop_instance_uid, []).append((row.id, row.sop_class_uid))
        return found


def _request_of(row: Row[Any]) -> OpenRequest:
    return OpenRequest(
        id=row.id,
        transaction_uid=row.transaction_uid,
        calling_ae_title=row.calling_ae_title,
        instances=tuple(Reference(*each) for each in row.instances),
        attempt=row.attempt,
        refusals=row.refusals,
        since=row.since,
    )
