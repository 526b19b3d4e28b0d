"""The counts of the quality page, on each database."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import insert
from support.filled_ledger import fill, job_row, verdict_row

from service.domain.reasons import Reason
from service.domain.verdict import Opinion
from service.storage.ledger import Ledger
from service.storage.ledger.database import Database
from service.storage.ledger.reading.statistics import (
    BINS,
    DAY_SECONDS,
    OutcomeCount,
    Period,
    Selection,
    VerdictCount,
)
from service.storage.ledger.tables import JOBS, VERDICTS

MONDAY = 1_700_438_400  # 2023-11-20, in UTC
WHOLE = Selection(since=MONDAY - 10 * 7 * DAY_SECONDS, until=MONDAY + 10 * 7 * DAY_SECONDS)
Recorder = Callable[..., None]


@pytest.fixture
def database(ledger: Ledger, ledger_url: str) -> Iterator[Database]:
    assert ledger.queries.recent() == []  # its tables are there
    opened = Database(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def record(database: Database) -> Recorder:
    def _record(table: Any, *rows: dict[str, Any]) -> None:  # noqa: ANN401 -- a table
        with database.write() as connection:
            connection.execute(insert(table), list(rows))

    return _record


def test_weeks_begin_on_monday_and_days_at_midnight() -> None:
    assert Period.WEEK.start(MONDAY) == MONDAY
    assert Period.WEEK.start(MONDAY - 0.001) == MONDAY - 7 * DAY_SECONDS
    assert Period.WEEK.start(MONDAY + 6.99 * DAY_SECONDS) == MONDAY
    assert Period.DAY.start(MONDAY + DAY_SECONDS + 1) == MONDAY + DAY_SECONDS


def test_outcomes_are_counted_by_week_to_the_second(ledger: Ledger, record: Recorder) -> None:
    refused = {"finding": None, "probability": None, "model": None}
    record(
        JOBS,
        job_row(1, MONDAY - 0.4, finding="absent"),
        job_row(2, MONDAY, finding="present"),
        job_row(3, MONDAY + 5 * DAY_SECONDS + 0.6, finding="present"),
        job_row(4, MONDAY + 1, **refused, refusal="lateral-view", state="delivered"),
        job_row(5, MONDAY + 2, **refused, reason="own-result", state="not_analysed"),
        job_row(6, MONDAY + 3, **refused, reason="attempts-exhausted", state="parked"),
        job_row(7, MONDAY + 4, **refused, state="received"),
    )
    last = MONDAY - 7 * DAY_SECONDS
    found = ledger.statistics.outcomes(WHOLE, Period.WEEK)
    assert found[0] == OutcomeCount(start=last, finding="absent", reason=None, count=1)
    assert {(each.finding, each.reason, each.count) for each in found[1:]} == {
        ("present", None, 2),
        (None, Reason.LATERAL, 1),
        (None, Reason.OWN_RESULT, 1),
        (None, None, 2),
    }
    assert {each.start for each in found[1:]} == {MONDAY}


def test_outcomes_are_counted_by_day_of_one_sender_and_model(
    ledger: Ledger, record: Recorder
) -> None:
    record(
        JOBS,
        job_row(1, MONDAY, calling_ae_title="ONE", model="m 1"),
        job_row(2, MONDAY, calling_ae_title="ONE", model="m 2"),
        job_row(3, MONDAY, calling_ae_title="TWO", model="m 1"),
        job_row(4, MONDAY + 1.5 * DAY_SECONDS, calling_ae_title="ONE", model="m 1"),
    )
    selection = Selection(since=WHOLE.since, until=WHOLE.until, model="m 1", ae_title="ONE")
    found = ledger.statistics.outcomes(selection, Period.DAY)
    assert [(each.start, each.count) for each in found] == [
        (MONDAY, 1),
        (MONDAY + DAY_SECONDS, 1),
    ]
    assert [(s.ae_title, s.model, s.count) for s in ledger.statistics.sources(0, 2e9)] == [
        ("ONE", "m 1", 2),
        ("ONE", "m 2", 1),
        ("TWO", "m 1", 1),
    ]


def test_the_bounds_of_a_selection_hold_the_first_moment_and_not_the_last(
    ledger: Ledger, record: Recorder
) -> None:
    record(JOBS, *(job_row(n, MONDAY + n) for n in range(4)))
    selection = Selection(since=MONDAY + 1, until=MONDAY + 3)
    assert sum(each.count for each in ledger.statistics.outcomes(selection, Period.DAY)) == 2
    assert sum(ledger.statistics.histogram(selection)) == 2


def test_probabilities_are_counted_in_bins_and_1_is_in_the_last(
    ledger: Ledger, record: Recorder
) -> None:
    for n, value in enumerate((0.0, 0.005, 0.125, 0.995, 1.0, None)):
        record(JOBS, job_row(n, MONDAY, probability=value))
    counts = ledger.statistics.histogram(WHOLE)
    assert len(counts) == BINS
    assert (counts[0], counts[12], counts[99], sum(counts)) == (2, 1, 2, 5)


def test_the_last_verdict_of_each_person_on_a_report_counts(
    ledger: Ledger, record: Recorder
) -> None:
    record(
        VERDICTS,
        verdict_row(1, MONDAY, user_name="ann", opinion="agree"),
        verdict_row(2, MONDAY + 5, user_name="ann", opinion="disagree", right_finding="absent"),
        verdict_row(3, MONDAY + 6, user_name="bob", opinion="agree"),
        verdict_row(4, MONDAY + 7, user_name="ann", report_uid="2.25.9", opinion="unsure"),
        verdict_row(5, MONDAY - 1, user_name="ann", report_uid="2.25.8", model="m 0"),
    )
    found = ledger.statistics.verdicts(WHOLE)
    assert found[0].start == MONDAY - 7 * DAY_SECONDS
    assert sorted(found[1:], key=lambda each: each.opinion) == [
        VerdictCount(start=MONDAY, finding="present", opinion=opinion, right_finding=right, count=1)
        for opinion, right in (
            (Opinion.AGREE, None),
            (Opinion.DISAGREE, "absent"),
            (Opinion.UNSURE, None),
        )
    ]
    of_model = Selection(since=WHOLE.since, until=WHOLE.until, model="m 0")
    assert [each.count for each in ledger.statistics.verdicts(of_model)] == [1]


def test_the_verdicts_of_a_sender_are_those_whose_job_is_known(
    ledger: Ledger, record: Recorder
) -> None:
    record(JOBS, job_row(1, MONDAY, calling_ae_title="ONE"))
    record(
        VERDICTS,
        verdict_row(1, MONDAY, job_id=job_row(1, 0.0)["id"]),
        verdict_row(2, MONDAY, job_id="f" * 32, report_uid="2.25.8"),
    )
    one = Selection(since=WHOLE.since, until=WHOLE.until, ae_title="ONE")
    assert sum(each.count for each in ledger.statistics.verdicts(WHOLE)) == 2
    assert sum(each.count for each in ledger.statistics.verdicts(one)) == 1


def test_an_empty_ledger_has_no_counts(ledger: Ledger) -> None:
    assert ledger.statistics.outcomes(WHOLE, Period.DAY) == []
    assert ledger.statistics.verdicts(WHOLE) == []
    assert ledger.statistics.sources(0, 2e9) == []
    assert ledger.statistics.histogram(WHOLE) == [0] * BINS


def test_a_filled_ledger_is_counted_whole(ledger: Ledger, database: Database) -> None:
    until = MONDAY + 7 * DAY_SECONDS
    fill(database, jobs=500, verdicts=100, until=until)
    every = Selection(since=0, until=until + 1)
    assert sum(each.count for each in ledger.statistics.outcomes(every, Period.WEEK)) == 500
    assert sum(each.count for each in ledger.statistics.sources(0, until + 1)) == 500
    assert sum(each.count for each in ledger.statistics.verdicts(every)) == 100
