"""Jobs: receive, lease, report, postpone, park, requeue, dismiss."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, Row, exists, insert, select, tuple_, update

from service.domain.delivery import OutputRecord
from service.domain.evidence import Evidence
from service.domain.job import (
    BytesGoneError,
    ConclusionRecord,
    Instance,
    Job,
    JobState,
    Receipt,
    Revision,
    TransitionError,
    require_may_follow,
    require_sentence,
)
from service.domain.monitoring.shadow import NOT_MONITORED, Monitored
from service.domain.patient import Patient
from service.domain.reasons import Reason
from service.domain.routing import Routes
from service.storage.ledger.breakers import close_breakers
from service.storage.ledger.clock import Clock, Moment
from service.storage.ledger.database import Database
from service.storage.ledger.instance.drift_inputs import record_drift_inputs
from service.storage.ledger.instance.evidence import record_evidence
from service.storage.ledger.mapping import append_event, append_events, event_row, job_of
from service.storage.ledger.reading.queries import ParkedFilter
from service.storage.ledger.tables import JOBS, OUTPUTS
from service.storage.ledger.work.delivery_plan import (
    dismiss_deliveries,
    drop_outputs,
    finished,
    plan_deliveries,
    record_revision,
)
from service.storage.ledger.work.leasing import LEASED_JOBS, Turns
from service.storage.ledger.work.receipts import RECORDED_AT_ONCE, Receipts
from service.storage.ledger.work.shadows import plan_shadow

_AT_ONCE: Final = 500  # values in one query
_INSERT_OUTPUTS: Final = insert(OUTPUTS)


class Jobs:
    """The jobs; every write after a lease is fenced (see `leasing`)."""

    def __init__(
        self, database: Database, clock: Clock, received_at_once: int = RECORDED_AT_ONCE
    ) -> None:
        self._database = database
        self._clock = clock
        self._receipts = Receipts(database, clock, received_at_once)
        self._turns = Turns()

    def receive(
        self,
        instance: Instance,
        patient: Patient | None = None,
        sha256: Callable[[], str] | None = None,
    ) -> Receipt:
        """Record a received instance as a job; durable when this returns.

        An instance with the same SOP Instance UID and the same bytes is the existing job; with
        other bytes it is a new job, linked to the first.

        Args:
            instance: The instance.
            patient: What its header says of the patient and the study.
            sha256: Returns the SHA-256 of its bytes, by which they were named at first; called
                where the ledger has a job with the same SOP Instance UID from then.

        Raises:
            LedgerError: Nothing was recorded.
        """
        return self._receipts.record(instance, patient, sha256)

    def exists(self, job_id: str) -> bool:
        """Return whether the ledger has a job of this id."""
        with self._database.read() as connection:
            return bool(connection.execute(select(exists().where(JOBS.c.id == job_id))).scalar())

    def known(self, job_ids: Collection[str]) -> set[str]:
        """Return those of some ids of which the ledger has a job."""
        wanted, found = list(job_ids), set[str]()
        with self._database.read() as connection:
            for start in range(0, len(wanted), _AT_ONCE):
                some = JOBS.c.id.in_(wanted[start : start + _AT_ONCE])
                found.update(connection.execute(select(JOBS.c.id).where(some)).scalars())
        return found

    def lease(
        self,
        holder: str,
        limit: int,
        *,
        lease_seconds: float,
        maximum_attempts: int,
        probes: bool = False,
    ) -> list[Job]:
        """Lease up to `limit` due jobs for prediction.

        A job that was tried before, or met a fault, is leased alone, so that a job that kills its
        worker does not fail others with it. A job that was tried `maximum_attempts` times is parked
        instead. Urgent jobs come first, except in one lease in a few, see `Turns`.

        Args:
            holder: Name of the worker.
            limit: At most so many.
            lease_seconds: How long the worker has for them.
            maximum_attempts: Tries after which a job is parked.
            probes: Whether they show if a breaker may close: those come first that met the fewest
                faults, because a fault may be of one job.
        """
        now = self._clock()
        urgent_first = self._turns.is_urgent_first("")
        with self._database.write() as connection:
            rows = _lock_due(
                connection, now.scheduled, limit, urgent_first=urgent_first, probes=probes
            )
            taken: list[Job] = []
            for job in map(job_of, rows):
                if job.tries >= maximum_attempts:
                    self._move(connection, job, JobState.PARKED, reason=Reason.ATTEMPTS_EXHAUSTED)
                elif job.tries == job.faults == 0:
                    taken.append(job)
                elif not taken:
                    taken.append(job)
                    break
            leased = LEASED_JOBS.lease(connection, taken, holder, now.scheduled + lease_seconds)
            append_events(
                connection,
                (
                    event_row(row.id, now, "leased", attempt=row.attempt, holder=holder)
                    for row in leased
                ),
            )
            return [job_of(row) for row in leased]

    def report(
        self,
        job: Job,
        conclusion: ConclusionRecord,
        outputs: Sequence[OutputRecord],
        routes: Routes,
        *,
        revision: Revision | None = None,
        evidence: Evidence | None = None,
        monitored: Monitored = NOT_MONITORED,
    ) -> None:
        """Record a job's conclusion and outputs, and plan the deliveries of its outputs.

        Without any destination the reported job is parked at once.

        Args:
            job: The job as leased.
            conclusion: The finding, or the reason why there is none.
            outputs: The outputs in the outbox.
            routes: The outputs and destinations configured for each outcome.
            revision: Identity of the report, for revisions that replace it later.
            evidence: What the page of the job shows of the analysis; replaces an earlier one's.
            monitored: What is kept of it for those who watch the model; likewise.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock()
        other = conclusion.other
        with self._database.write() as connection:
            self._move(
                connection,
                job,
                JobState.REPORTED,
                report_uid=revision.sop_instance_uid if revision else None,
                reported_at=now.wall,
                finding=conclusion.finding,
                probability=conclusion.probability,
                refusal=conclusion.not_analysed_reason,
                operating_point=conclusion.operating_point,
                model=conclusion.model,
                other_finding=other.finding if other else None,
                other_probability=other.probability if other else None,
                other_operating_point=other.operating_point if other else None,
                population=conclusion.population,
                threshold=conclusion.threshold,
                indeterminate_low=conclusion.indeterminate_low,
                indeterminate_high=conclusion.indeterminate_high,
            )
            drop_outputs(connection, job.id, but=[each.sop_instance_uid for each in outputs])
            _insert_outputs(connection, job.id, outputs)
            if revision is not None:
                record_revision(connection, revision)
            record_evidence(connection, job.id, evidence)
            _record_monitored(connection, job.id, monitored, now)
            plan_deliveries(
                connection,
                job.id,
                routes.deliveries(conclusion.outcome, [each.kind for each in outputs]),
                now,
                has_destinations=routes.has_destinations,
            )

    def not_analysed(
        self, job: Job, reason: Reason, *, monitored: Monitored = NOT_MONITORED
    ) -> None:
        """Close a job that is not analysed.

        Args:
            job: The job as leased.
            reason: Why.
            monitored: What is kept of it for those who watch the model.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock()
        with self._database.write() as connection:
            drop_outputs(connection, job.id, but=())  # of an earlier analysis
            record_evidence(connection, job.id, None)
            _record_monitored(connection, job.id, monitored, now)
            values: dict[str, Any] = {"reason": reason, **finished(now)}
            self._move(connection, job, JobState.NOT_ANALYSED, **values)

    def park(self, job: Job, reason: Reason) -> None:
        """Park a job until a person requeues it.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        with self._database.write() as connection:
            self._move(connection, job, JobState.PARKED, reason=reason)

    def renew(self, job: Job, lease_seconds: float) -> None:
        """Let the lease of a job expire `lease_seconds` from now; its work has made progress.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        until = self._clock().scheduled + lease_seconds
        with self._database.write() as connection:
            LEASED_JOBS.renew(connection, job, until)

    def postpone(
        self, job: Job, seconds: float, why: str, *, counts: bool = True, is_fault: bool = False
    ) -> None:
        """Release a leased job, due again in `seconds`.

        Args:
            job: The job as leased.
            seconds: The pause.
            why: A fixed word for the trace, never text from the wire.
            counts: Whether the lease stays counted as a try. False where the job is not the cause:
                its tries are then what they were before the lease. Its attempt stays, being the
                fence.
            is_fault: Whether a fault of the environment ended the lease.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock()
        # written as a value and not as an increment, so that a repeat changes nothing more
        given_back = {} if counts else {"attempt_base": job.attempt - job.tries + 1}
        with self._database.write() as connection:
            LEASED_JOBS.write_if_current(
                connection,
                job,
                due_at=now.scheduled + seconds,
                faults=job.faults + is_fault,
                **given_back,
            )
            append_event(
                connection,
                job.id,
                now,
                "postponed",
                seconds=round(seconds, 1),
                why=why,
                counts=None if counts else False,
            )

    def release(self, holder: str) -> int:
        """End the leases of processes whose name begins with `holder`; return how many."""
        now = self._clock()
        with self._database.write() as connection:
            rows = LEASED_JOBS.release(connection, holder, now.scheduled)
            append_events(
                connection,
                (event_row(row.id, now, "lease-released", holder=holder) for row in rows),
            )
        return len(rows)

    def requeue(self, job_id: str, routes: Routes) -> Job:
        """Resume a parked job, and count its limits from 0 again.

        A job parked before its report, or for lost bytes, is predicted again. The outputs of any
        other are sent to the destinations of `routes`, whose breakers are closed.

        Raises:
            LookupError: There is no such job.
            TransitionError: The job is not parked.
        """
        now = self._clock()
        with self._database.write() as connection:
            job = _locked(connection, job_id)
            query = select(OUTPUTS.c.kind).where(OUTPUTS.c.job_id == job_id)
            outputs = list(connection.execute(query).scalars())
            if job.reason is Reason.BYTES_MISSING or not _is_reported(job):
                outputs = []  # the analysis is repeated and makes the same objects
            following = JobState.REPORTED if outputs else JobState.RECEIVED
            if job.state is not JobState.PARKED:
                raise TransitionError(f"{job.state} is not parked")
            self._start_over(connection, job, following, now)
            append_event(connection, job_id, now, "requeued", to=str(following))
            if outputs and job.outcome is not None:
                close_breakers(connection, routes.destinations)
                plan_deliveries(
                    connection,
                    job_id,
                    routes.deliveries(job.outcome, outputs),
                    now,
                    has_destinations=routes.has_destinations,
                )
            return _locked(connection, job_id)

    def reanalyse(self, job_id: str) -> Job:
        """Have a finished or parked job analysed again with the configured model.

        Another model or operating point makes a report that replaces the previous one. The same
        model makes the same objects, which are not sent again to a destination that has them.

        Raises:
            LookupError: There is no such job.
            TransitionError: The job is in flight.
            BytesGoneError: Retention took its bytes.
        """
        now = self._clock()
        with self._database.write() as connection:
            job = _locked(connection, job_id)
            require_may_follow(job.state, JobState.RECEIVED)
            if job.purged_at is not None:
                raise BytesGoneError("bytes are gone: retention took them")
            self._start_over(connection, job, JobState.RECEIVED, now)
            connection.execute(
                update(JOBS)
                .where(JOBS.c.id == job_id)
                .values(asked_at=now.wall, reported_at=None, finished_at=None, kept_since=None)
            )
            append_event(connection, job_id, now, "reanalysis-asked", was=str(job.state))
            return _locked(connection, job_id)

    def dismiss(self, job_id: str, why: str) -> Job:
        """Close a parked job; a person said why.

        What was not delivered is not sent any more: its deliveries are deleted, and the trace
        names each. What was delivered stays. The reason for which the job was parked is kept.

        Args:
            job_id: The job.
            why: That person's sentence, for the trace alone.

        Raises:
            LookupError: There is no such job.
            TransitionError: The job is not parked.
            ValueError: `why` is not one sentence, see `require_sentence`.
        """
        now, sentence = self._clock(), require_sentence(why)
        with self._database.write() as connection:
            job = _locked(connection, job_id)
            require_may_follow(job.state, JobState.DISMISSED)
            _dismiss(connection, job, sentence, now)
            return _locked(connection, job_id)

    def dismiss_some(
        self, wanted: ParkedFilter, why: str, limit: int, after: tuple[float, str] | None = None
    ) -> list[Job]:
        """Close up to `limit` parked jobs that pass a filter, in the order of their receipt.

        Args:
            wanted: The filter.
            why: A person's sentence, for the traces alone.
            limit: At most so many, in one transaction.
            after: `received_at` and id of the job after which to go on.

        Returns:
            The jobs as they were parked; none when there are no more.

        Raises:
            ValueError: `why` is not one sentence, see `require_sentence`.
        """
        now, sentence = self._clock(), require_sentence(why)
        query = select(JOBS).where(*wanted.conditions())
        if after is not None:
            query = query.where(tuple_(JOBS.c.received_at, JOBS.c.id) > tuple_(*after))
        query = query.order_by(JOBS.c.received_at, JOBS.c.id).limit(limit)
        with self._database.write() as connection:
            rows = connection.execute(query.with_for_update(key_share=True)).all()
            jobs = [job_of(row) for row in rows]
            for job in jobs:
                _dismiss(connection, job, sentence, now)
        return jobs

    @staticmethod
    def _start_over(connection: Connection, job: Job, state: JobState, now: Moment) -> None:
        require_may_follow(job.state, state)
        values: dict[str, Any] = {
            "state": state,
            "reason": None,
            "attempt_base": job.attempt,
            "faults": 0,
            "due_at": now.scheduled if state is JobState.RECEIVED else None,
            "holder": None,
        }
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(values))

    def _move(
        self,
        connection: Connection,
        job: Job,
        state: JobState,
        *,
        report_uid: str | None = None,
        **values: Any,  # noqa: ANN401 -- columns
    ) -> None:
        require_may_follow(job.state, state)
        LEASED_JOBS.write_if_current(connection, job, state=state, due_at=None, **values)
        append_event(
            connection,
            job.id,
            self._clock(),
            str(state),
            reason=values.get("reason"),
            finding=values.get("finding"),
            probability=values.get("probability"),
            other_finding=values.get("other_finding"),
            other_probability=values.get("other_probability"),
            population=values.get("population"),
            refusal=values.get("refusal"),
            operating_point=values.get("operating_point"),
            model=values.get("model"),
            report=report_uid,  # its revision; a later one has another finding or model
        )


def _insert_outputs(connection: Connection, job_id: str, outputs: Sequence[OutputRecord]) -> None:
    if outputs:
        rows = [{"job_id": job_id, **asdict(output)} for output in outputs]
        connection.execute(_INSERT_OUTPUTS, rows)


def _record_monitored(
    connection: Connection, job_id: str, monitored: Monitored, now: Moment
) -> None:
    record_drift_inputs(connection, job_id, monitored.drift_inputs)
    plan_shadow(connection, job_id, monitored.reported, now)


def _locked(connection: Connection, job_id: str) -> Job:
    row = connection.execute(
        select(JOBS).where(JOBS.c.id == job_id).with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        raise LookupError(f"no job {job_id}")
    return job_of(row)


def _lock_due(
    connection: Connection, now: float, limit: int, *, urgent_first: bool, probes: bool
) -> Sequence[Row[Any]]:
    """Lock due jobs; as probes those that met no fault or, where all did, the fewest.

    A job has a time at which it is due while it is received, and only then. The queries do not name
    the state: SQLite has no statistics here, and would rather read all jobs of that state.
    """
    due = select(JOBS)
    queries = [due.where(JOBS.c.faults == 0), due.order_by(JOBS.c.faults)] if probes else [due]
    for query in queries:
        rows = LEASED_JOBS.lock_due(connection, query, now, limit, urgent_first=urgent_first)
        if rows:
            return rows
    return ()


def _dismiss(connection: Connection, job: Job, sentence: str, now: Moment) -> None:
    values = {"state": JobState.DISMISSED, "due_at": None, **finished(now)}
    connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(**values))
    append_event(connection, job.id, now, "dismissed", reason=job.reason, why=sentence)
    dismiss_deliveries(connection, job.id, now)


def _is_reported(job: Job) -> bool:
    """Return whether the analysis requested last has been reported."""
    return job.reported_at is not None
