"""A large backlog: hot queries read by an index, tallies are exact, urgent jobs come first."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, Final

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event, func, select, text
from support.backlog import fill_backlog
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import Delivery, DeliveryState, OutputRecord
from service.domain.job import ConclusionRecord, Instance, Job, JobState
from service.domain.reasons import Reason
from service.storage.ledger import Ledger, Miscount, StaleLeaseError
from service.storage.ledger.database import Database
from service.storage.ledger.migrations import MIGRATIONS
from service.storage.ledger.tables import EVENTS, JOBS, TALLY_CHANGES

Maker = Callable[..., Instance]
CONCLUSION: Final = ConclusionRecord(
    finding="present", probability=0.75, operating_point="screening", model="m 1"
)
LARGE: Final = ("jobs", "deliveries", "events", "outputs", "revisions")
HELD: Final = ("ix_jobs_held", "ix_deliveries_held")  # of the few rows that are leased

IN_ORDER: Final = (
    "ix_deliveries_due",
    "ix_deliveries_urgent",
    "ix_jobs_reported",
    "ix_jobs_to_purge",
    "ix_jobs_to_forget",
)  # read from one end, to the limit


def outputs(job: Job) -> list[OutputRecord]:
    return [OutputRecord(kind="sr", sop_class_uid="1.2.3", sop_instance_uid=f"2.25.{job.id[-6:]}")]


def lease(ledger: Ledger, limit: int = 1) -> list[Job]:
    return ledger.jobs.lease("w/", limit, lease_seconds=60, maximum_attempts=3)


def report(ledger: Ledger, job: Job, *destinations: str) -> None:
    ledger.jobs.report(job, CONCLUSION, outputs(job), to(destinations))


# hot queries


def in_turns(lease_once: Callable[[Ledger], object]) -> Callable[[Ledger], object]:
    """Lease as often as urgent work comes first, and once when it does not."""
    return lambda ledger: [lease_once(ledger) for _ in range(4)]


HOT: Final[dict[str, tuple[Callable[[Ledger], object], tuple[str, ...]]]] = {
    "lease jobs": (in_turns(partial(lease, limit=8)), ("ix_jobs_due", "ix_jobs_urgent")),
    "lease a probe": (
        lambda ledger: ledger.jobs.lease(
            "w/", 1, lease_seconds=60, maximum_attempts=3, probes=True
        ),
        ("ix_jobs_urgent",),
    ),
    "lease deliveries": (
        in_turns(lambda ledger: ledger.deliveries.lease("pacs", "d/", 8, lease_seconds=60)),
        ("ix_deliveries_due", "ix_deliveries_urgent"),
    ),
    "lease commitments": (
        lambda ledger: ledger.commitments.lease(
            "vault", "d/", 32, transaction_uid="1.2.9", lease_seconds=60
        ),
        ("ix_deliveries_urgent",),
    ),
    "release": (lambda ledger: ledger.release("w/"), HELD),
    "park the deliveries of removed destinations": (
        lambda ledger: ledger.deliveries.park_unknown(["pacs", "vault"]),
        ("ix_deliveries_",),
    ),
    "due": (
        lambda ledger: ledger.queries.due(),
        ("ix_jobs_due", "ix_deliveries_due", "ix_deliveries_since"),
    ),
    "queues": (lambda ledger: ledger.queries.queues(), ("ix_jobs_due", "ix_deliveries_due")),
    "find": (
        lambda ledger: ledger.queries.find("2.25.7"),
        ("ix_jobs_study_instance_uid", "ix_outputs_", "ix_revisions_", "ix_deliveries_sent_"),
    ),
    "find by the beginning of an id": (lambda ledger: ledger.queries.find("abcdef12"), ()),
    "retention by age": (
        lambda ledger: ledger.retention.mark_older(280_000, 100),
        ("ix_jobs_to_purge",),
    ),
    "retention by size": (
        lambda ledger: ledger.retention.mark_oldest(40_000, 10),
        ("ix_jobs_to_purge",),
    ),
    "what to forget": (
        lambda ledger: ledger.retention.forget_older(590_000, 100),
        ("ix_jobs_to_forget",),
    ),
    "files to discard": (lambda ledger: ledger.retention.marked(100), ("ix_jobs_to_discard",)),
    "parked": (lambda ledger: ledger.flow.parked(10), ("ix_jobs_parked",)),
    "analysis": (
        lambda ledger: ledger.flow.analysis(),
        ("ix_jobs_due", "ix_jobs_state_received_at"),
    ),
    "destinations": (
        lambda ledger: ledger.flow.destinations(["pacs", "vault"]),
        ("ix_deliveries_due", "ix_deliveries_since", "ix_deliveries_parked"),
    ),
    "the latest model": (lambda ledger: ledger.flow.latest_model(), ("ix_jobs_reported",)),
    "job counts": (lambda ledger: ledger.queries.job_counts(), ()),
    "delivery counts": (lambda ledger: ledger.queries.delivery_counts(), ()),
}


@contextmanager
def noted(ledger: Ledger) -> Iterator[list[tuple[str, Any]]]:
    """Note the statements that read rows, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(_c: object, _u: object, statement: str, parameters: Any, *_more: object) -> None:  # noqa: ANN401
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            statements.append((statement, parameters))

    engine = ledger._database.engine
    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def plan_of(ledger: Ledger, statement: str, parameters: Any) -> list[str]:  # noqa: ANN401
    engine = ledger._database.engine
    how = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"{how} {statement}", parameters)
        return [str(row[-1]) for row in rows]


def scans_of(line: str, statement: str) -> bool:
    """Return whether a line of a plan reads a large table, or an index of it, from end to end."""
    by_index = (*HELD, *(IN_ORDER if "LIMIT" in statement else ()))
    if any(name in line for name in by_index):
        return False
    scanned = ("SCAN", "Seq Scan on")
    return any(f"{how} {table}" in line for how in scanned for table in LARGE)


def test_hot_queries_read_by_their_index_whatever_the_ledger_holds(ledger_url: str) -> None:
    with closing(Ledger(ledger_url)) as ledger:
        ledger.upgrade()
        fill_backlog(ledger_url, jobs=20_000, due=4_000, now=time.time())
        assert ledger.queries.due().infer == 4_000, "else this test checks nothing"
        for title, (run, indexes) in HOT.items():
            with noted(ledger) as statements:
                run(ledger)
            plans = [(line, each[0]) for each in statements for line in plan_of(ledger, *each)]
            assert [each for each in plans if scans_of(*each)] == [], title
            used = " ".join(line for line, _ in plans)
            assert [index for index in indexes if index not in used] == [], title


# tallies


def live(ledger: Ledger, number: int, instance: Maker) -> None:
    """Do random things to jobs and deliveries, as several processes do at once."""
    chance = random.Random(number)
    leased: list[Job] = []
    sending: list[Delivery] = []

    def end(act: Callable[[Job], None]) -> None:
        if leased:
            act(leased.pop())

    def answer(act: Callable[[Delivery], None]) -> None:
        if sending:
            act(sending.pop())

    acts: list[Callable[[], object]] = [
        lambda: ledger.jobs.receive(instance(chance.randrange(30), bytes_=chance.choice("ab"))),
        lambda: leased.extend(lease(ledger, 3)),
        lambda: end(lambda job: report(ledger, job, "north", "south")),
        lambda: end(lambda job: ledger.jobs.park(job, Reason.REPORT_FAILED)),
        lambda: end(lambda job: ledger.jobs.not_analysed(job, Reason.VIEW)),
        lambda: sending.extend(ledger.deliveries.lease("north", "d/", 2, lease_seconds=60)),
        lambda: answer(lambda each: ledger.deliveries.delivered(each, status=0)),
        lambda: answer(lambda each: ledger.deliveries.park(each, Reason.DESTINATION_REFUSED)),
        lambda: ledger.deliveries.park_unknown(["north"]),
        lambda: ledger.tallies.fold(few=0),
    ]
    for _ in range(60):
        with suppress(StaleLeaseError):
            chance.choice(acts)()
        assert ledger.queries.job_counts().balance == 0


def test_the_tallies_are_exact_at_every_moment_while_many_write(
    ledger: Ledger, instance: Maker
) -> None:
    copies = Counter[int]()

    def unique(n: int, **changes: str) -> Instance:
        with lock:
            copies[n] += 1
            return instance(n, copy=copies[n], **changes)

    lock = threading.Lock()
    for n in range(3):  # the random part may come to no report
        ledger.jobs.receive(unique(n, bytes_="c"))
        report(ledger, lease(ledger)[0], "north", "south")
    with ThreadPoolExecutor(6) as processes:
        for each in [processes.submit(live, ledger, n, unique) for n in range(6)]:
            each.result()
    counts = ledger.queries.job_counts()
    assert ledger.tallies.verify() == []
    assert (counts.balance, counts.received) == (0, sum(counts.by_state.values()))
    assert sum(1 for number in counts.by_state.values() if number) > 1
    assert sum(ledger.queries.delivery_counts().values()) > 0


def test_jobs_that_vanish_show_in_the_balance_and_a_wrong_tally_is_corrected(
    ledger: Ledger, ledger_url: str, instance: Maker
) -> None:
    for n in range(3):
        ledger.jobs.receive(instance(n))
    engine = create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs WHERE sop_instance_uid = '1.2.3.0'"))
    assert ledger.queries.job_counts().balance == 1, "the tally follows the rows"
    assert ledger.tallies.verify() == []
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM tally_changes WHERE subject = 'jobs'"))
    engine.dispose()
    wrong = Miscount(subject="jobs", state="received", name="", tally=0, rows=2)
    assert ledger.tallies.verify() == [wrong]
    assert ledger.tallies.correct() == [wrong]
    assert ledger.tallies.verify() == []
    assert ledger.queries.job_counts().by_state[JobState.RECEIVED] == 2


@pytest.mark.parametrize("revision", ["0007", "0008", "0009"])
def test_the_tallies_are_exact_after_a_way_back_to_an_earlier_version(
    ledger: Ledger, ledger_url: str, instance: Maker, revision: str
) -> None:
    """Revision 0007 has no tallies, so that what was there before them is counted."""
    for n in range(4):
        ledger.jobs.receive(instance(n))
    done, parked = lease(ledger, 2)
    report(ledger, done, "pacs")
    ledger.jobs.park(parked, Reason.REPORT_FAILED)
    before = ledger.queries.job_counts(), ledger.queries.delivery_counts()
    downgrade(ledger_url, revision)
    ledger.upgrade()
    assert (ledger.queries.job_counts(), ledger.queries.delivery_counts()) == before
    assert before[0].parked_by_reason == {Reason.REPORT_FAILED: 1}
    assert before[1] == {("pacs", DeliveryState.PENDING): 1}
    assert ledger.tallies.verify() == []
    (last,) = lease(ledger)
    report(ledger, last, "pacs")
    ledger.jobs.receive(instance(5))
    assert ledger.queries.job_counts().by_state[JobState.REPORTED] == 2
    assert ledger.tallies.verify() == [], "the triggers are there again"


def downgrade(ledger_url: str, revision: str) -> None:
    database, config = Database(ledger_url), Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        connection.commit()
    database.close()


def test_folding_keeps_the_numbers_and_leaves_one_row_each(
    ledger: Ledger, ledger_url: str, instance: Maker
) -> None:
    for n in range(120):
        ledger.jobs.receive(instance(n))
    before = ledger.queries.job_counts()
    assert ledger.tallies.fold() == 241, "two a job, and one that the migration wrote"
    assert ledger.tallies.fold() == 0, "few changes are left alone"
    assert ledger.queries.job_counts() == before
    engine = create_engine(ledger_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM tally_changes")).scalar() == 2
    engine.dispose()


# repeats


def test_a_repeat_is_counted_in_the_row_and_adds_none(
    ledger: Ledger, ledger_url: str, instance: Maker, clock: Clock
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    engine = create_engine(ledger_url)

    def rows() -> list[int]:
        with engine.connect() as connection:
            queries = [
                select(func.count()).select_from(each) for each in (JOBS, EVENTS, TALLY_CHANGES)
            ]
            return [connection.execute(query).scalar_one() for query in queries]

    before = rows()
    for n in range(1, 6):
        clock.pass_seconds(1)
        assert ledger.jobs.receive(instance(copy=n)).repeated
    assert rows() == before
    engine.dispose()
    job = ledger.queries.job(job_id)
    assert job is not None
    assert (job.repeats, job.last_repeated_at) == (5, clock.now)
    clock.pass_seconds(1)
    lease(ledger)
    trace = ledger.queries.trace(job_id)
    assert [each.name for each in trace] == ["received", "received-again", "leased"]
    assert (trace[1].at, trace[1].detail) == (job.last_repeated_at, {"times": 5})


# urgent


def test_urgent_jobs_are_leased_first_the_longest_due_of_them_first(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    for n in range(6):
        ledger.jobs.receive(instance(n, is_urgent=n in {3, 5}))
        clock.pass_seconds(1)
    assert [job.sop_instance_uid[-1] for job in lease(ledger, 4)] == ["3", "5", "0", "1"]
    assert [job.is_urgent for job in ledger.queries.recent()] == [True, False, True, *[False] * 3]


@pytest.mark.parametrize("limit", [1, 4])
def test_ordinary_jobs_are_not_starved_by_a_stream_of_urgent_ones(
    ledger: Ledger, instance: Maker, clock: Clock, limit: int
) -> None:
    """More urgent jobs come than are leased, for ever; still each ordinary one has its turn."""
    ordinary, numbers = 5, iter(range(1000, 100_000))
    for n in range(ordinary):
        ledger.jobs.receive(instance(n))
    done = Counter[bool]()
    for _ in range(4 * ordinary):
        for _ in range(limit + 1):
            ledger.jobs.receive(instance(next(numbers), is_urgent=True))
        clock.pass_seconds(1)
        for job in lease(ledger, limit):
            done[job.is_urgent] += 1
            ledger.jobs.not_analysed(job, Reason.VIEW)
    assert done[False] == ordinary
    assert done[True] == 4 * ordinary * limit - ordinary, "the others were all urgent"


def test_a_job_that_was_tried_runs_alone_urgent_or_not(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    ledger.jobs.receive(instance(1, is_urgent=True))
    (tried,) = lease(ledger)
    ledger.jobs.postpone(tried, 1, "error")
    ledger.jobs.receive(instance(2, is_urgent=True))
    clock.pass_seconds(2)
    ledger.jobs.receive(instance(3))
    assert [[job.tries for job in lease(ledger, 8)] for _ in range(3)] == [[1, 1], [2], []]


def test_the_outputs_of_urgent_jobs_are_sent_first_and_the_others_have_their_turn(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    for n in range(8):
        ledger.jobs.receive(instance(n, is_urgent=n >= 4))
    for job in sorted(lease(ledger, 8), key=lambda job: job.sop_instance_uid):
        report(ledger, job, "pacs", "south")
        clock.pass_seconds(1)
    urgent = {job.id: job.is_urgent for job in ledger.queries.recent()}

    def sent(name: str) -> list[bool]:
        taken = [ledger.deliveries.lease(name, "d/", 1, lease_seconds=60) for _ in range(8)]
        return [urgent[each.job_id] for (each,) in taken]

    in_turn = [True, True, True, False, True, False, False, False]
    assert sent("pacs") == in_turn
    assert sent("south") == in_turn, "each destination has turns of its own"


def test_a_probe_is_a_job_that_met_no_fault_urgent_or_not(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    ledger.jobs.receive(instance(1, is_urgent=True))
    (faulty,) = lease(ledger)
    ledger.jobs.postpone(faulty, 1, "disk-full", counts=False, is_fault=True)
    ledger.jobs.receive(instance(2))
    clock.pass_seconds(2)

    def probe() -> list[str]:
        jobs = ledger.jobs.lease("w/", 1, lease_seconds=9, maximum_attempts=3, probes=True)
        return [job.sop_instance_uid for job in jobs]

    assert [probe(), probe(), probe()] == [["1.2.3.2"], ["1.2.3.1"], []]
