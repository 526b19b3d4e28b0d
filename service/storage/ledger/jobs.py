"""Receive, lease, advance, postpone, park and requeue: what may be done to a job."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Exists, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.delivery import OutputRecord
from service.domain.job import (
    ConclusionRecord,
    Instance,
    Job,
    JobState,
    Receipt,
    Revision,
    TransitionError,
    require_may_follow,
)
from service.domain.reasons import Reason
from service.domain.routing import Routes
from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.delivery_plan import drop_outputs, plan_deliveries, record_revision
from service.storage.ledger.mapping import StaleLeaseError, job_of, note
from service.storage.ledger.tables import BREAKERS, JOBS, OUTPUTS, TALLIES


class Jobs:
    """The jobs; every change after a lease is fenced by its attempt number."""

    def __init__(self, store: Database, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def receive(self, instance: Instance) -> Receipt:
        """Take an instance into the ledger; durable when this returns.

        The same SOP Instance UID with the same bytes is the job that is there already; with other
        bytes it is a new job, linked to the first.

        Raises:
            LedgerError: nothing was taken.
        """
        try:
            return self._receive(instance)
        except LedgerError as exc:
            if not isinstance(exc.__cause__, IntegrityError):
                raise
        # the same bytes came in by two associations at once: the other's row is there now
        return self._receive(instance)

    def _receive(self, instance: Instance) -> Receipt:
        now = self._clock()
        with self._store.write() as connection:
            standing = connection.execute(
                select(JOBS.c.id, JOBS.c.sha256, JOBS.c.reason)
                .where(JOBS.c.sop_instance_uid == instance.sop_instance_uid)
                .order_by(JOBS.c.received_at, JOBS.c.id)
            ).all()
            for row in standing:
                if row.sha256 == instance.sha256:
                    note(connection, row.id, now, "received-again")
                    lacks_bytes = row.reason == Reason.BYTES_MISSING
                    return Receipt(job_id=row.id, repeated=True, lacks_bytes=lacks_bytes)
            corrects = standing[0].id if standing else None
            _insert(connection, instance, corrects, now)
        return Receipt(job_id=instance.job_id, corrects=corrects)

    def exists(self, job_id: str) -> bool:
        """Tell whether the ledger knows a job."""
        with self._store.read() as connection:
            return bool(connection.execute(select(exists().where(JOBS.c.id == job_id))).scalar())

    def lease(
        self, holder: str, limit: int, *, lease_seconds: float, maximum_attempts: int
    ) -> list[Job]:
        """Take up to `limit` due jobs for prediction; give none when none is due.

        A job that was tried before runs alone, so that one that kills its worker takes no other
        along; one whose attempts are used up is parked here.
        """
        now = self._clock()
        with self._store.write() as connection:
            rows = connection.execute(
                select(JOBS)
                .where(JOBS.c.state == JobState.RECEIVED, JOBS.c.due_at <= now)
                .order_by(JOBS.c.due_at, JOBS.c.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            ).all()
            taken: list[Job] = []
            for job in map(job_of, rows):
                if job.tries >= maximum_attempts:
                    self._move(connection, job, JobState.PARKED, reason=Reason.ATTEMPTS_EXHAUSTED)
                elif job.tries == 0:
                    taken.append(job)
                elif not taken:
                    taken.append(job)
                    break
            return [self._lease(connection, job, holder, lease_seconds) for job in taken]

    def _lease(self, connection: Connection, job: Job, holder: str, seconds: float) -> Job:
        now = self._clock()
        row = connection.execute(
            update(JOBS)
            .where(JOBS.c.id == job.id)
            .values(attempt=job.attempt + 1, holder=holder, due_at=now + seconds)
            .returning(*JOBS.c)
        ).one()
        note(connection, job.id, now, "leased", attempt=job.attempt + 1, holder=holder)
        return job_of(row)

    def report(
        self,
        job: Job,
        conclusion: ConclusionRecord,
        outputs: Sequence[OutputRecord],
        routes: Routes,
        *,
        revision: Revision | None = None,
    ) -> None:
        """Keep what was concluded and its outputs, and owe each output to whoever wants it.

        Without any destination the job is parked at once, reported but owed to nobody. `revision`
        names the report for those that may follow it.

        Raises:
            StaleLeaseError: somebody else leased the job meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            self._move(
                connection,
                job,
                JobState.REPORTED,
                reported_at=now,
                finding=conclusion.finding,
                probability=conclusion.probability,
                refusal=conclusion.not_analysed_reason,
                operating_point=conclusion.operating_point,
                model=conclusion.model,
            )
            drop_outputs(connection, job.id, but=[each.sop_instance_uid for each in outputs])
            for output in outputs:
                connection.execute(
                    insert(OUTPUTS).values(
                        job_id=job.id,
                        kind=output.kind,
                        sop_class_uid=output.sop_class_uid,
                        sop_instance_uid=output.sop_instance_uid,
                    )
                )
            if revision is not None:
                record_revision(connection, revision)
            plan_deliveries(
                connection,
                job.id,
                routes.owed(conclusion.outcome, [each.kind for each in outputs]),
                now,
                nothing_owed=None if routes.anywhere else Reason.NO_DESTINATION,
            )

    def not_analysed(self, job: Job, reason: Reason) -> None:
        """Close a job that the model cannot read.

        Raises:
            StaleLeaseError: somebody else leased the job meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            drop_outputs(connection, job.id, but=())  # of an earlier analysis
            self._move(connection, job, JobState.NOT_ANALYSED, reason=reason, finished_at=now)

    def park(self, job: Job, reason: Reason) -> None:
        """Set a job aside until a person requeues it.

        Raises:
            StaleLeaseError: somebody else leased the job meanwhile; nothing was changed.
        """
        with self._store.write() as connection:
            self._move(connection, job, JobState.PARKED, reason=reason)

    def postpone(self, job: Job, seconds: float, why: str) -> None:
        """Give a leased job back, due again later; `why` is a word of ours, never wire text.

        Raises:
            StaleLeaseError: somebody else leased the job meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            self._fenced(connection, job, holder=None, due_at=now + seconds)
            note(connection, job.id, now, "postponed", seconds=round(seconds, 1), why=why)

    def release(self, holder: str) -> int:
        """Give back what dead workers held whose name begins so; the attempt stays counted."""
        now = self._clock()
        with self._store.write() as connection:
            rows = connection.execute(
                update(JOBS)
                .where(
                    JOBS.c.holder.startswith(holder, autoescape=True),
                    JOBS.c.state == JobState.RECEIVED,
                )
                .values(holder=None, due_at=now)
                .returning(JOBS.c.id)
            ).all()
            for row in rows:
                note(connection, row.id, now, "lease-released", holder=holder)
        return len(rows)

    def requeue(self, job_id: str, routes: Routes) -> Job:
        """Let a parked job go on from where it was parked, with its limits counted anew.

        A job parked before its report, or for lost bytes, is predicted again; any other owes its
        outputs to the destinations of today, which are tried at once however silent they were.

        Raises:
            LookupError: there is no such job.
            TransitionError: the job is not parked.
        """
        now = self._clock()
        with self._store.write() as connection:
            job = _locked(connection, job_id)
            query = select(OUTPUTS.c.kind).where(OUTPUTS.c.job_id == job_id)
            outputs = list(connection.execute(query).scalars())
            if job.reason is Reason.BYTES_MISSING or not _is_reported(job):
                outputs = []  # they are as good as none: made anew, they come out the same
            following = JobState.REPORTED if outputs else JobState.RECEIVED
            if job.state is not JobState.PARKED:
                raise TransitionError(f"{job.state} is not parked")
            self._start_over(connection, job, following, now)
            note(connection, job_id, now, "requeued", to=str(following))
            if outputs and job.outcome is not None:
                silent = BREAKERS.c.destination.in_(routes.destinations)
                connection.execute(delete(BREAKERS).where(silent))
                plan_deliveries(
                    connection,
                    job_id,
                    routes.owed(job.outcome, outputs),
                    now,
                    nothing_owed=None if routes.anywhere else Reason.NO_DESTINATION,
                )
            return _locked(connection, job_id)

    def reanalyse(self, job_id: str) -> Job:
        """Have an ended or parked job analysed again, by the model of today.

        Another model or operating point gives a report that takes the place of the one before;
        the same gives the same objects, which whoever has them is not sent again.

        Raises:
            LookupError: there is no such job.
            TransitionError: the job is in flight, or its bytes are gone.
        """
        now = self._clock()
        with self._store.write() as connection:
            job = _locked(connection, job_id)
            require_may_follow(job.state, JobState.RECEIVED)
            if job.purged_at is not None:
                raise TransitionError("retention took its bytes")
            self._start_over(connection, job, JobState.RECEIVED, now)
            connection.execute(
                update(JOBS).where(JOBS.c.id == job_id).values(asked_at=now, finished_at=None)
            )
            note(connection, job_id, now, "reanalysis-asked", was=str(job.state))
            return _locked(connection, job_id)

    @staticmethod
    def _start_over(connection: Connection, job: Job, state: JobState, now: float) -> None:
        require_may_follow(job.state, state)
        values: dict[str, Any] = {
            "state": state,
            "reason": None,
            "attempt_base": job.attempt,
            "due_at": now if state is JobState.RECEIVED else None,
            "holder": None,
        }
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(values))

    def finished_before(self, moment: float, limit: int, *, purged: bool = False) -> list[str]:
        """List jobs that ended before a moment, the oldest first, that still have their bytes.

        With `purged` those that have not, as far as they may be forgotten: a job that others
        correct outlasts them, and must not stand in their way here.
        """
        query = select(JOBS.c.id).where(JOBS.c.finished_at < moment)
        if purged:
            query = query.where(JOBS.c.purged_at.is_not(None), ~_is_corrected())
        else:
            query = query.where(JOBS.c.purged_at.is_(None))
        query = query.order_by(JOBS.c.finished_at).limit(limit)
        with self._store.read() as connection:
            return list(connection.execute(query).scalars())

    def mark_purged(self, job_id: str) -> bool:
        """Keep that retention took an ended job's bytes; False if the job is not ended."""
        now = self._clock()
        with self._store.write() as connection:
            marked = connection.execute(
                update(JOBS)
                .where(JOBS.c.id == job_id, JOBS.c.finished_at.is_not(None))
                .values(purged_at=now)
            ).rowcount
            if marked:
                note(connection, job_id, now, "purged")
        return bool(marked)

    def forget(self, job_id: str) -> bool:
        """Remove an ended job and its trace, keeping the balance; False if it is not ended."""
        with self._store.write() as connection:
            gone = connection.execute(
                delete(JOBS).where(
                    JOBS.c.id == job_id, JOBS.c.finished_at.is_not(None), ~_is_corrected()
                )
            ).rowcount
            if gone:
                _count(connection, "forgotten")
        return bool(gone)

    def _move(self, connection: Connection, job: Job, state: JobState, **values: Any) -> None:  # noqa: ANN401 -- columns
        require_may_follow(job.state, state)
        self._fenced(connection, job, state=state, holder=None, due_at=None, **values)
        note(
            connection,
            job.id,
            self._clock(),
            str(state),
            reason=values.get("reason"),
            finding=values.get("finding"),
            probability=values.get("probability"),
            refusal=values.get("refusal"),
        )

    @staticmethod
    def _fenced(connection: Connection, job: Job, **values: Any) -> None:  # noqa: ANN401 -- columns
        changed = connection.execute(
            update(JOBS)
            .where(JOBS.c.id == job.id, JOBS.c.attempt == job.attempt, JOBS.c.state == job.state)
            .values(values)
        ).rowcount
        if changed != 1:
            raise StaleLeaseError(f"attempt {job.attempt} of job {job.id} is not the present one")


def _locked(connection: Connection, job_id: str) -> Job:
    row = connection.execute(
        select(JOBS).where(JOBS.c.id == job_id).with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        raise LookupError(f"no job {job_id}")
    return job_of(row)


def _is_reported(job: Job) -> bool:
    """Tell whether the analysis that was asked for last has been reported."""
    return job.reported_at is not None and job.reported_at >= job.asked_at


def _is_corrected() -> Exists:
    correction = JOBS.alias()
    return exists().where(correction.c.corrects == JOBS.c.id)


def _insert(connection: Connection, instance: Instance, corrects: str | None, now: float) -> None:
    connection.execute(
        insert(JOBS).values(
            id=instance.job_id,
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            series_instance_uid=instance.series_instance_uid,
            study_instance_uid=instance.study_instance_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            sha256=instance.sha256,
            size_bytes=instance.size_bytes,
            calling_ae_title=instance.calling_ae_title,
            source=instance.source,
            corrects=corrects,
            state=JobState.RECEIVED,
            due_at=now,
            received_at=now,
            asked_at=now,
        )
    )
    _count(connection, "received")
    note(
        connection,
        instance.job_id,
        now,
        str(JobState.RECEIVED),
        source=str(instance.source),
        size_bytes=instance.size_bytes,
        corrects=corrects,
    )


def _count(connection: Connection, name: str) -> None:
    connection.execute(
        update(TALLIES).where(TALLIES.c.name == name).values(total=TALLIES.c.total + 1)
    )
