"""The commitment that senders asked us for, kept until each was told the result (PS3.4 J)."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.delivery import Reference
from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.mapping import StaleLeaseError, note
from service.storage.ledger.tables import JOBS, REQUESTS

MOST_OPEN: Final = 1_000  # requests of one sender that it was not told the result of
_AT_ONCE: Final = 500  # values in one query


class InUseError(Exception):
    """The sender used the same Transaction UID for other instances, and awaits their result."""


class TooManyError(Exception):
    """The sender awaits the results of too many requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """A sender's request for commitment that it was not told the result of."""

    id: int
    transaction_uid: str
    calling_ae_title: str
    instances: tuple[Reference, ...]
    attempt: int
    refusals: int
    since: float  # when it came, seconds since the epoch: giving up counts from here


class CommitmentRequests:
    """One row per request; leased and fenced by attempt like the jobs, gone when it is over."""

    def __init__(self, store: Database, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def receive(
        self, calling_ae_title: str, transaction_uid: str, instances: Sequence[Reference]
    ) -> None:
        """Take a request into the ledger; durable when this returns. One that is there is the same.

        Raises:
            InUseError: its Transaction UID stands for other instances.
            TooManyError: the sender has too many requests open.
            LedgerError: nothing was taken.
        """
        named = [[each.sop_class_uid, each.sop_instance_uid] for each in instances]
        try:
            self._receive(calling_ae_title, transaction_uid, named)
        except LedgerError as exc:
            if not isinstance(exc.__cause__, IntegrityError):
                raise
            # the same request came by two associations at once: the other's row is there now
            self._receive(calling_ae_title, transaction_uid, named)

    def _receive(
        self, calling_ae_title: str, transaction_uid: str, instances: list[list[str]]
    ) -> None:
        now = self._clock()
        of_sender = REQUESTS.c.calling_ae_title == calling_ae_title
        with self._store.write() as connection:
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
                    due_at=now,
                    since=now,
                )
            )

    def lease(self, holder: str, limit: int, *, lease_seconds: float) -> list[OpenRequest]:
        """Take up to `limit` requests whose sender is to be told the result now."""
        now = self._clock()
        with self._store.write() as connection:
            due = connection.execute(
                select(REQUESTS.c.id)
                .where(REQUESTS.c.due_at <= now)
                .order_by(REQUESTS.c.due_at, REQUESTS.c.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            ).scalars()
            rows = connection.execute(
                update(REQUESTS)
                .where(REQUESTS.c.id.in_(list(due)))
                .values(attempt=REQUESTS.c.attempt + 1, holder=holder, due_at=now + lease_seconds)
                .returning(*REQUESTS.c)
            ).all()
        return sorted(map(_request_of, rows), key=lambda each: each.id)

    def told(self, request: OpenRequest, job_ids: Iterable[str]) -> None:
        """Close a request whose sender was told the result; `job_ids` hold what was committed.

        Raises:
            StaleLeaseError: somebody else leased the request meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            _require_one(connection.execute(delete(REQUESTS).where(*_as_leased(request))).rowcount)
            for job_id in job_ids:
                note(
                    connection,
                    job_id,
                    now,
                    "instance-committed",
                    to=request.calling_ae_title,
                    transaction_uid=request.transaction_uid,
                )

    def put_off(self, request: OpenRequest, *, again_in: float, refused: bool = False) -> None:
        """Give a request back, due again later.

        Raises:
            StaleLeaseError: somebody else leased the request meanwhile; nothing was changed.
        """
        values = {"holder": None, "due_at": self._clock() + again_in}
        with self._store.write() as connection:
            _require_one(
                connection.execute(
                    update(REQUESTS)
                    .where(*_as_leased(request))
                    .values(refusals=request.refusals + refused, **values)
                ).rowcount
            )

    def give_up(self, request: OpenRequest) -> None:
        """Close a request whose sender was not told the result, and will not be.

        Raises:
            StaleLeaseError: somebody else leased the request meanwhile; nothing was changed.
        """
        with self._store.write() as connection:
            _require_one(connection.execute(delete(REQUESTS).where(*_as_leased(request))).rowcount)

    def release(self, holder: str) -> int:
        """Give back what dead workers held whose name begins so, due at once."""
        with self._store.write() as connection:
            return connection.execute(
                update(REQUESTS)
                .where(REQUESTS.c.holder.startswith(holder, autoescape=True))
                .values(holder=None, due_at=self._clock())
            ).rowcount

    def jobs_of(self, instances: Sequence[Reference]) -> dict[str, list[tuple[str, str]]]:
        """Give job and SOP Class UID of every instance that was received, by SOP Instance UID."""
        found: dict[str, list[tuple[str, str]]] = {}
        uids = [each.sop_instance_uid for each in instances]
        query = select(JOBS.c.sop_instance_uid, JOBS.c.id, JOBS.c.sop_class_uid)
        with self._store.read() as connection:
            for start in range(0, len(uids), _AT_ONCE):
                named = JOBS.c.sop_instance_uid.in_(uids[start : start + _AT_ONCE])
                for row in connection.execute(query.where(named)):
                    found.setdefault(row.sop_instance_uid, []).append((row.id, row.sop_class_uid))
        return found


def _as_leased(request: OpenRequest) -> tuple[Any, ...]:
    return (
        REQUESTS.c.id == request.id,
        # SQLite gives the number of a row that is gone to another
        REQUESTS.c.transaction_uid == request.transaction_uid,
        REQUESTS.c.calling_ae_title == request.calling_ae_title,
        REQUESTS.c.attempt == request.attempt,
    )


def _require_one(changed: int) -> None:
    if changed != 1:
        raise StaleLeaseError("the request was leased again, or is over")


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
