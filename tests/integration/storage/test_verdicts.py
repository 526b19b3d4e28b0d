"""Verdicts in the ledger, on each database."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from pydicom.uid import Comprehensive3DSRStorage
from sqlalchemy import text
from support.purged import forget_finished
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Instance, Revision
from service.domain.reasons import Reason
from service.domain.verdict import Opinion, VerdictError
from service.storage.ledger import Ledger, LedgerError, ReplacedReportError

Maker = Callable[..., Instance]
CONCLUSION = ConclusionRecord(
    finding="present",
    probability=0.75,
    operating_point="screening",
    model="m 1",
    population="children",
)
NOT_ANALYSED = ConclusionRecord(
    not_analysed_reason=Reason.NOT_CHEST, operating_point="screening", model="m 1"
)


def report(
    ledger: Ledger, instance: Instance, uid: str, conclusion: ConclusionRecord = CONCLUSION
) -> str:
    job_id = ledger.jobs.receive(instance).job_id
    return report_again(ledger, job_id, uid, conclusion)


def report_again(ledger: Ledger, job_id: str, uid: str, conclusion: ConclusionRecord) -> str:
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    sr = OutputRecord(kind="sr", sop_class_uid=Comprehensive3DSRStorage, sop_instance_uid=uid)
    revision = Revision(
        job_id=job_id,
        sop_class_uid=sr.sop_class_uid,
        sop_instance_uid=uid,
        series_instance_uid="2.25.100",
        predecessor=None,
        dated_at=1.0,
    )
    ledger.jobs.report(job, conclusion, [sr], to(["pacs"]), revision=revision)
    return job_id


def finish_delivery(ledger: Ledger) -> None:
    for each in ledger.deliveries.lease("pacs", "w/", 9, lease_seconds=60):
        ledger.deliveries.delivered(each, status=0)


def test_a_verdict_keeps_what_retraining_needs_of_the_job(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = report(ledger, instance(1), "2.25.1")
    clock.pass_seconds(5)
    recorded = ledger.verdicts.record(
        job_id,
        report_uid="2.25.1",
        user="mueller",
        opinion=Opinion.DISAGREE,
        right_finding="absent",
        comment="skin fold\nnot an opacity",
    )
    (kept,) = ledger.verdicts.of_job(job_id)
    assert kept == recorded
    assert (kept.user, kept.opinion, kept.right_finding) == ("mueller", Opinion.DISAGREE, "absent")
    assert (kept.digest, kept.sop_instance_uid) == ("a" * 64, "1.2.3.1")
    assert (kept.finding, kept.probability, kept.operating_point) == ("present", 0.75, "screening")
    assert (kept.model, kept.population, kept.report_uid) == ("m 1", "children", "2.25.1")
    assert (kept.comment, kept.at) == ("skin fold\nnot an opacity", clock())


def test_the_latest_verdict_of_a_user_on_a_report_counts_and_all_are_kept(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = report(ledger, instance(1), "2.25.1")
    for user, opinion in (
        ("one", Opinion.UNSURE),
        ("two", Opinion.AGREE),
        ("one", Opinion.AGREE),
    ):
        clock.pass_seconds(1)
        ledger.verdicts.record(job_id, report_uid="2.25.1", user=user, opinion=opinion)
    assert len(ledger.verdicts.of_job(job_id)) == 3
    latest = ledger.verdicts.latest()
    assert [(each.user, each.opinion) for each in latest] == [
        ("two", Opinion.AGREE),
        ("one", Opinion.AGREE),
    ]
    assert [each.user for each in ledger.verdicts.latest(since=clock())] == ["one"]
    first, second = (
        ledger.verdicts.latest(limit=1),
        ledger.verdicts.latest(after=latest[0].id or 0),
    )
    assert [each.user for each in (*first, *second)] == ["two", "one"]
    assert ledger.verdicts.readers() == {"one": "reader-1", "two": "reader-2"}


def test_a_report_that_was_replaced_cannot_be_judged_any_more_and_its_verdict_stays(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = report(ledger, instance(1), "2.25.1")
    ledger.verdicts.record(job_id, report_uid="2.25.1", user="one", opinion=Opinion.AGREE)
    finish_delivery(ledger)
    ledger.jobs.reanalyse(job_id)
    report_again(ledger, job_id, "2.25.2", replace(CONCLUSION, finding="absent", model="m 2"))
    with pytest.raises(ReplacedReportError):
        ledger.verdicts.record(job_id, report_uid="2.25.1", user="one", opinion=Opinion.AGREE)
    ledger.verdicts.record(job_id, report_uid="2.25.2", user="one", opinion=Opinion.UNSURE)
    of_reports = {each.report_uid: each.finding for each in ledger.verdicts.latest()}
    assert of_reports == {"2.25.1": "present", "2.25.2": "absent"}


def test_a_report_of_another_job_and_no_job_are_not_found(ledger: Ledger, instance: Maker) -> None:
    one, other = report(ledger, instance(1), "2.25.1"), report(ledger, instance(2), "2.25.2")
    for job_id, uid in ((one, "2.25.2"), (other, "2.25.1"), (one, ""), ("f" * 32, "2.25.1")):
        with pytest.raises(LookupError):
            ledger.verdicts.record(job_id, report_uid=uid, user="one", opinion=Opinion.AGREE)
    assert ledger.verdicts.latest() == []


@pytest.mark.parametrize(
    ("opinion", "right"),
    [
        (Opinion.DISAGREE, None),
        (Opinion.DISAGREE, "present"),
        (Opinion.DISAGREE, "normal"),
        (Opinion.AGREE, "absent"),
        (Opinion.UNSURE, "absent"),
    ],
)
def test_an_opinion_that_contradicts_itself_is_refused(
    ledger: Ledger, instance: Maker, opinion: Opinion, right: str | None
) -> None:
    job_id = report(ledger, instance(1), "2.25.1")
    with pytest.raises(VerdictError):
        ledger.verdicts.record(
            job_id, report_uid="2.25.1", user="one", opinion=opinion, right_finding=right
        )
    assert ledger.verdicts.of_job(job_id) == []


def test_a_report_without_a_finding_cannot_be_judged(ledger: Ledger, instance: Maker) -> None:
    job_id = report(ledger, instance(1), "2.25.1", NOT_ANALYSED)
    with pytest.raises(VerdictError, match="no finding"):
        ledger.verdicts.record(job_id, report_uid="2.25.1", user="one", opinion=Opinion.AGREE)


def test_a_verdict_outlives_its_job_and_nothing_changes_it(ledger: Ledger, instance: Maker) -> None:
    job_id = report(ledger, instance(1), "2.25.1")
    ledger.verdicts.record(job_id, report_uid="2.25.1", user="one", opinion=Opinion.AGREE)
    finish_delivery(ledger)
    assert forget_finished(ledger) == [job_id]
    assert [each.job_id for each in ledger.verdicts.latest()] == [job_id]
    for statement in ("UPDATE verdicts SET opinion = 'unsure'", "DELETE FROM verdicts"):
        with (
            pytest.raises(LedgerError, match="append-only"),
            ledger._database.write() as connection,
        ):
            connection.execute(text(statement))
    assert [each.opinion for each in ledger.verdicts.latest()] == [Opinion.AGREE]
