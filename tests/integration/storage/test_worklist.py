"""The worklist on SQLite and on PostgreSQL: order, filters, search, and pages while jobs arrive."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import insert, select
from support.purged import forget_finished
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Instance, Job, JobState
from service.domain.patient import Patient
from service.domain.reasons import Reason
from service.domain.verdict import Opinion
from service.storage.ledger import Ledger
from service.storage.ledger.database import Database
from service.storage.ledger.reading.worklist import (
    IDENTIFIER,
    InvalidCursorError,
    Order,
    Worklist,
    WorklistFilter,
    WorklistPage,
)
from service.storage.ledger.tables import PATIENT_WORDS, VERDICTS

Make = Callable[..., Instance]
REPORT = "2.25.77"
EVERYTHING = WorklistFilter(with_patients=True)
DOE = Patient(
    patient_name="Müller^Eva=山田^太郎",
    patient_id="PID-4711",
    accession_number="ACC9",
    modality="CR",
)


class Filled:
    """A ledger to fill, and its worklist."""

    def __init__(self, ledger: Ledger, clock: Clock, make: Make) -> None:
        self.ledger = ledger
        self.clock = clock
        self._make = make
        self._number = 0

    def add(
        self,
        finding: str | None = None,
        *,
        patient: Patient | None = None,
        state: JobState = JobState.RECEIVED,
        **changes: str,
    ) -> str:
        """Add a job, a second after the one before; return its id."""
        self._number += 1
        self.clock.now += 1
        made = self._make(self._number, **changes)
        self.ledger.jobs.receive(made, patient)
        if finding is not None:
            self._report(made.job_id, finding)
        if state is JobState.PARKED:
            self.ledger.jobs.park(self._lease(made.job_id), Reason.REPORT_FAILED)
        return made.job_id

    def _lease(self, job_id: str) -> Job:
        leased = self.ledger.jobs.lease("t/", 1000, lease_seconds=1e6, maximum_attempts=1000)
        return next(job for job in leased if job.id == job_id)

    def _report(self, job_id: str, finding: str) -> None:
        conclusion = ConclusionRecord(
            finding=finding, probability=0.5, operating_point="screening", model="m 1"
        )
        output = OutputRecord(kind="sr", sop_class_uid="1.2", sop_instance_uid=f"2.25.{job_id[:8]}")
        self.ledger.jobs.report(self._lease(job_id), conclusion, [output], to(["pacs"]))

    def ids(self, **wanted: object) -> list[str]:
        """Return the ids of the first page."""
        return ids(self.ledger.worklist.page(filter_(**wanted)))


def filter_(**wanted: object) -> WorklistFilter:
    return WorklistFilter(**{"with_patients": True, **wanted})  # type: ignore[arg-type]


def ids(page: WorklistPage) -> list[str]:
    return [row.job.id for row in page.rows]


@pytest.fixture
def filled(ledger: Ledger, clock: Clock, instance: Make) -> Filled:
    return Filled(ledger, clock, instance)


@pytest.fixture
def database(ledger_url: str) -> Iterator[Database]:
    opened = Database(ledger_url)
    yield opened
    opened.close()


def judge(database: Database, job_id: str, opinion: Opinion) -> None:
    with database.write() as connection:
        connection.execute(
            insert(VERDICTS).values(
                at=1.0,
                user_name="reader",
                opinion=opinion,
                comment="",
                job_id=job_id,
                report_uid=REPORT,
                sop_instance_uid="1.2",
                digest="0" * 64,
                finding="present",
                probability=0.5,
                operating_point="screening",
                model="m 1",
            )
        )


def test_positives_come_first_then_the_oldest(filled: Filled) -> None:
    absent, waiting, first = filled.add("absent"), filled.add(), filled.add("present")
    unsure, second = filled.add("indeterminate"), filled.add("present")
    assert filled.ids() == [first, second, unsure, absent, waiting]
    assert filled.ids(order=Order.NEWEST) == [second, unsure, first, waiting, absent]


def test_each_filter_leaves_the_others_out(filled: Filled, database: Database) -> None:
    present = filled.add("present", calling_ae_title="ROOM 1")
    parked = filled.add(state=JobState.PARKED, calling_ae_title="ROOM 2")
    absent = filled.add("absent", calling_ae_title="ROOM 2")
    judge(database, absent, Opinion.AGREE)
    assert filled.ids(states=frozenset({JobState.PARKED})) == [parked]
    assert filled.ids(states=frozenset({JobState.PARKED, JobState.REPORTED})) == [
        present,
        parked,
        absent,
    ]
    assert filled.ids(findings=frozenset({"absent"})) == [absent]
    assert filled.ids(findings=frozenset({"absent", "present"})) == [present, absent]
    assert filled.ids(calling_ae_title="ROOM 2") == [parked, absent]
    assert filled.ids(has_verdict=True) == [absent]
    assert filled.ids(has_verdict=False) == [present, parked]
    assert filled.ids(calling_ae_title="ROOM 2", has_verdict=False) == [parked]
    assert filled.ids(states=frozenset({JobState.PARKED}), findings=frozenset({"present"})) == []


def test_a_period_has_its_beginning_and_not_its_end(filled: Filled) -> None:
    times = []
    for _ in range(3):
        filled.add("present")
        times.append(filled.clock.now)
    found = filled.ledger.worklist.page(filter_(since=times[1], until=times[2]))
    assert [row.job.received_at for row in found.rows] == [times[1]]


def test_a_row_has_its_patient_and_the_latest_verdict(filled: Filled, database: Database) -> None:
    job_id, other = filled.add("present", patient=DOE), filled.add("absent")
    judge(database, job_id, Opinion.AGREE)
    judge(database, job_id, Opinion.DISAGREE)
    row, nobody = filled.ledger.worklist.page(EVERYTHING).rows
    assert (row.job.id, row.patient, row.opinion) == (job_id, DOE, Opinion.DISAGREE)
    assert (nobody.job.id, nobody.patient, nobody.opinion) == (other, None, None)


@pytest.mark.parametrize(
    ("text", "matched"),
    [
        ("mül", "patient-name"),
        ("EVA muell", "patient-name"),
        ("太郎", "patient-name"),
        ("pid47", "patient-id"),
        ("acc9", "accession-number"),
        ("acc9 eva", "accession-number,patient-name"),
    ],
)
def test_a_patient_is_found_by_the_beginning_of_name_and_numbers(
    filled: Filled, text: str, matched: str
) -> None:
    job_id = filled.add("present", patient=DOE)
    filled.add("present", patient=Patient(patient_name="Other^Person", patient_id="1"))
    page = filled.ledger.worklist.page(filter_(text=text))
    assert (ids(page), ",".join(page.matched)) == ([job_id], matched)


def test_a_job_is_found_by_its_uids_and_the_beginning_of_its_id(filled: Filled) -> None:
    job_id = filled.add(
        "present", patient=DOE, series_instance_uid="1.2.5", study_instance_uid="1.2.6"
    )
    filled.add()
    job = filled.ledger.queries.job(job_id)
    assert job is not None
    uids = (job.sop_instance_uid, "1.2.5", "1.2.6", f"2.25.{job_id[:8]}")
    for text in (*uids, job_id):
        page = filled.ledger.worklist.page(filter_(text=text))
        assert (ids(page), page.matched) == ([job_id], (IDENTIFIER,)), text
        assert filled.ids(text=text, with_patients=False) == [job_id]
    assert len(filled.ids(text=job_id[:6])) == 2
    for text in (job_id[:5], "1.2.3.4.5", job.sop_instance_uid[:-1], "f" * 6):
        assert filled.ids(text=text) == []


@pytest.mark.parametrize(
    "text",
    [
        "%",
        "_",
        "%%%",
        "mül%er",
        "M_ller",
        "*",
        "'; DROP TABLE jobs; --",
        '" OR 1=1',
        "\\",
        "\u202e",
        "🙂",
    ],
)
def test_no_sign_is_a_wildcard_or_a_part_of_the_statement(filled: Filled, text: str) -> None:
    filled.add("present", patient=DOE)
    assert filled.ids(text=text) == []
    assert len(filled.ids()) == 1


@pytest.mark.parametrize("text", ["Müller", "PID-4711", "ACC9", "山田", "eva", "acc9 eva"])
def test_without_the_permission_no_patient_is_searched_or_returned(
    filled: Filled, text: str
) -> None:
    filled.add("present", patient=DOE)
    page = filled.ledger.worklist.page(WorklistFilter(text=text))
    assert (page.rows, page.matched, page.following) == ((), (), None)
    (row,) = filled.ledger.worklist.page(WorklistFilter()).rows
    assert row.patient is None


@pytest.mark.parametrize("few", [0, 10_000], ids=["walked through", "sorted"])
@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("text", ["", "mue"])
def test_no_row_is_repeated_or_missed_while_others_arrive(
    filled: Filled, database: Database, order: Order, text: str, few: int
) -> None:
    worklist = Worklist(database, few=few)
    findings = ("present", "absent", None, "indeterminate")
    there = [filled.add(findings[number % 4], patient=DOE) for number in range(30)]
    for _ in range(5):  # at the same moment: their ids decide
        filled.clock.now -= 1
        there.append(filled.add("present", patient=DOE))
    seen: list[str] = []
    cursor = ""
    while True:
        page = worklist.page(filter_(text=text, order=order, cursor=cursor), limit=4)
        seen += ids(page)
        if page.following is None:
            break
        cursor = page.following
        if len(seen) < 20:
            filled.add(findings[len(seen) % 4], patient=DOE)
    assert len(set(seen)) == len(seen)
    assert set(seen) >= set(there)
    assert [each for each in seen if each in there] == [
        each
        for each in ids(worklist.page(filter_(text=text, order=order), limit=1000))
        if each in there
    ]


@pytest.mark.parametrize("few", [0, 10_000], ids=["walked through", "sorted"])
def test_both_ways_find_the_same(filled: Filled, database: Database, few: int) -> None:
    worklist = Worklist(database, few=few)
    one = filled.add("present", patient=DOE)
    filled.add("absent", patient=Patient(patient_name="Müller^Adam"))
    judge(database, one, Opinion.UNSURE)
    for wanted, found in (
        ({"text": "mü eva"}, [one]),
        ({"text": "mü", "has_verdict": True}, [one]),
        ({"states": frozenset({JobState.REPORTED}), "findings": frozenset({"present"})}, [one]),
        ({"text": one}, [one]),
        ({"text": "%"}, []),
        ({"calling_ae_title": "NOBODY"}, []),
    ):
        assert ids(worklist.page(filter_(**wanted))) == found


@pytest.mark.parametrize(
    "cursor",
    ["x", "0_1_2", "9_1.0_" + "0" * 32, "0_nan_" + "0" * 32, "0_1.0_" + "0" * 31 + "'", "é" * 90],
)
def test_what_no_page_ended_with_is_no_cursor(filled: Filled, cursor: str) -> None:
    with pytest.raises(InvalidCursorError):
        filled.ledger.worklist.page(filter_(cursor=cursor))


def test_the_revision_changes_with_every_change_and_only_then(
    filled: Filled, database: Database
) -> None:
    worklist = filled.ledger.worklist
    revisions = [worklist.revision()]

    def changed() -> bool:
        revisions.append(worklist.revision())
        return len(set(revisions)) == len(revisions)

    job_id = filled.add()
    assert changed()
    filled.add("present")
    assert changed()
    judge(database, job_id, Opinion.AGREE)
    assert changed()
    for delivery in filled.ledger.deliveries.lease("pacs", "t/", 9, lease_seconds=60):
        filled.ledger.deliveries.delivered(delivery, status=0)
    assert changed()
    assert worklist.revision() == revisions[-1]
    (delivered,) = filled.ids(states=frozenset({JobState.DELIVERED}))
    assert forget_finished(filled.ledger) == [delivered]
    assert changed()


def test_a_forgotten_job_leaves_no_words_of_its_patient(filled: Filled, database: Database) -> None:
    job_id = filled.add("present", patient=DOE)
    for delivery in filled.ledger.deliveries.lease("pacs", "t/", 9, lease_seconds=60):
        filled.ledger.deliveries.delivered(delivery, status=0)
    assert forget_finished(filled.ledger) == [job_id]
    with database.read() as connection:
        assert connection.execute(select(PATIENT_WORDS)).all() == []
    assert filled.ids(text="müller") == []


def test_the_calling_ae_titles_are_listed_once_each(filled: Filled) -> None:
    for title in ("B", "A", "B", "C"):
        filled.add(calling_ae_title=title)
    assert filled.ledger.worklist.calling_ae_titles() == ["A", "B", "C"]
    assert filled.ledger.worklist.calling_ae_titles(limit=2) == ["A", "B"]
