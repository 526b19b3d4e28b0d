"""What a shadow model is to read and says, in the ledger, on each database."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from pydicom.uid import Comprehensive3DSRStorage
from support.purged import forget_finished
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Instance, Job
from service.domain.monitoring.inputs import DriftInput, InputGroups
from service.domain.monitoring.reference import ReferenceKind
from service.domain.monitoring.shadow import Monitored, Reading, ShadowWork
from service.domain.reasons import Reason
from service.domain.routing import Outcome
from service.domain.verdict import Opinion
from service.storage.ledger import Ledger, StaleLeaseError
from service.storage.ledger.reading.comparisons import Compared, JudgedPair, OutcomePair
from service.storage.ledger.work.shadows import BYTES_GONE

Maker = Callable[..., Instance]
PRESENT = Reading(model="m 1", operating_point="screening", finding="present", probability=0.75)
REFUSED = Reading(model="m 1", operating_point="screening", reason=Reason.LATERAL)
ABSENT = Reading(
    model="m 2",
    operating_point="balanced",
    finding="absent",
    probability=0.25,
    weights_sha256="ab" * 32,
)
GROUPS = InputGroups(manufacturer="fuji", view="PA", kvp="120 to 130", tone="0.5 to 0.525")
EVER = Compared(since=0, until=9e9, reported="m 1", shadow="m 2")


def lease_job(ledger: Ledger) -> Job:
    (job,) = ledger.jobs.lease("w/infer/1/", 1, lease_seconds=60, maximum_attempts=3)
    return job


def analyse(ledger: Ledger, instance: Instance, reported: Reading | None = PRESENT) -> str:
    """Let an instance be received and reported, with what the model said."""
    ledger.jobs.receive(instance)
    analyse_again(ledger, reported)
    return instance.job_id


def analyse_again(ledger: Ledger, reported: Reading | None) -> None:
    job = lease_job(ledger)
    monitored = Monitored(drift_inputs=GROUPS, reported=reported)
    if reported is not None and reported.reason is not None:
        ledger.jobs.not_analysed(job, reported.reason, monitored=monitored)
        return
    conclusion = ConclusionRecord(
        finding="present", probability=0.75, operating_point="screening", model="m 1"
    )
    output = OutputRecord(
        kind="sr", sop_class_uid=Comprehensive3DSRStorage, sop_instance_uid=f"2.25.{job.id[-6:]}"
    )
    ledger.jobs.report(job, conclusion, [output], to([]), monitored=monitored)


def lease(ledger: Ledger, limit: int = 9) -> list[ShadowWork]:
    return ledger.shadows.lease("w/shadow/1/", limit, lease_seconds=60)


def test_what_both_models_said_is_kept_with_the_job(ledger: Ledger, instance: Maker) -> None:
    job_id = analyse(ledger, instance())
    assert ledger.shadows.pending() == 1
    assert ledger.comparisons.of(job_id) is None
    (work,) = lease(ledger)
    assert (work.job_id, work.attempt, work.reported) == (job_id, 1, Outcome.PRESENT)
    ledger.shadows.record([(work, ABSENT)])
    found = ledger.comparisons.of(job_id)
    assert found is not None
    assert (found.reported, found.shadow) == (PRESENT, ABSENT)
    assert found.is_change
    assert found.difference == pytest.approx(-0.5)
    assert ledger.shadows.pending() == 0
    assert lease(ledger) == []


def test_nothing_of_it_changes_the_job_its_trace_or_its_deliveries(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = analyse(ledger, instance())
    before = (ledger.queries.job(job_id), ledger.queries.trace(job_id))
    deliveries = ledger.queries.delivery_counts()
    (work,) = lease(ledger)
    ledger.shadows.record([(work, ABSENT)])
    assert (ledger.queries.job(job_id), ledger.queries.trace(job_id)) == before
    assert ledger.queries.delivery_counts() == deliveries
    assert ledger.queries.job_counts().balance == 0


def test_without_a_shadow_model_nothing_is_planned(ledger: Ledger, instance: Maker) -> None:
    analyse(ledger, instance(), None)
    assert ledger.shadows.pending() == 0


def test_an_instance_that_was_refused_is_compared_too(ledger: Ledger, instance: Maker) -> None:
    job_id = analyse(ledger, instance(), REFUSED)
    (work,) = lease(ledger)
    assert work.reported is Outcome.NOT_ANALYSED
    ledger.shadows.record([(work, replace(REFUSED, model="m 2"))])
    found = ledger.comparisons.of(job_id)
    assert found is not None
    assert not found.is_change
    assert found.shadow.reason is Reason.LATERAL
    assert found.difference is None


def test_a_lease_that_ran_out_is_fenced(ledger: Ledger, instance: Maker, clock: Clock) -> None:
    job_id = analyse(ledger, instance())
    (stale,) = lease(ledger)
    clock.pass_seconds(61)
    (work,) = lease(ledger)
    assert work.attempt == 2
    with pytest.raises(StaleLeaseError):
        ledger.shadows.record([(stale, ABSENT)])
    assert ledger.comparisons.of(job_id) is None
    ledger.shadows.record([(work, ABSENT)])
    assert ledger.comparisons.of(job_id) is not None


def test_another_analysis_is_another_comparison(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = analyse(ledger, instance())
    (stale,) = lease(ledger)
    clock.pass_seconds(1)
    ledger.jobs.reanalyse(job_id)
    later = replace(PRESENT, model="m 9")
    analyse_again(ledger, later)
    with pytest.raises(StaleLeaseError):
        ledger.shadows.record([(stale, ABSENT)])
    (work,) = lease(ledger)
    ledger.shadows.record([(work, ABSENT)])
    found = ledger.comparisons.of(job_id)
    assert found is not None
    assert found.reported == later


def test_one_that_was_tried_before_is_leased_alone(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    first = analyse(ledger, instance(1))
    (work,) = lease(ledger)
    ledger.shadows.postpone(work, 5)
    assert lease(ledger) == []
    clock.pass_seconds(6)
    others = {analyse(ledger, instance(n)) for n in (2, 3)}
    assert {each.job_id for each in lease(ledger)} == others
    assert [each.job_id for each in lease(ledger)] == [first]


def test_the_leases_of_a_process_that_ended_are_released(ledger: Ledger, instance: Maker) -> None:
    analyse(ledger, instance())
    assert len(lease(ledger)) == 1
    assert lease(ledger) == []
    assert ledger.release("w/shadow/1/") == 1
    assert [each.attempt for each in lease(ledger)] == [2]


def test_one_that_cannot_be_read_is_given_up_with_a_word(ledger: Ledger, instance: Maker) -> None:
    analyse(ledger, instance())
    (work,) = lease(ledger)
    ledger.shadows.give_up(work, BYTES_GONE)
    assert ledger.shadows.pending() == 0
    assert ledger.comparisons.failures(0, 9e9) == {BYTES_GONE: 1}
    assert ledger.comparisons.pairs(0, 9e9) == []


def test_it_goes_with_its_job(ledger: Ledger, instance: Maker) -> None:
    job_id = analyse(ledger, instance())
    (work,) = lease(ledger)
    ledger.shadows.record([(work, ABSENT)])
    assert ledger.drift_inputs.of(job_id) == GROUPS
    ledger.jobs.dismiss(job_id, "a test")
    assert forget_finished(ledger) == [job_id]
    assert ledger.comparisons.of(job_id) is None
    assert ledger.drift_inputs.of(job_id) is None


def test_comparisons_are_counted_by_outcome_and_the_differences_listed(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    said = [
        (PRESENT, ABSENT),
        (PRESENT, replace(ABSENT, finding="present", probability=0.875)),
        (REFUSED, replace(REFUSED, model="m 2")),
    ]
    ids = []
    for number, (reported, shadow) in enumerate(said, 1):
        ids.append(analyse(ledger, instance(number), reported))
        (work,) = lease(ledger)
        ledger.shadows.record([(work, shadow)])
        clock.pass_seconds(1)
    (pair,) = ledger.comparisons.pairs(0, 9e9)
    assert (pair.reported, pair.shadow, pair.count) == ("m 1", "m 2", 3)
    found = ledger.comparisons.outcomes(EVER)
    counted = {(each.reported, each.shadow): each.count for each in found}
    assert counted == {
        (Outcome.PRESENT, Outcome.ABSENT): 1,
        (Outcome.PRESENT, Outcome.PRESENT): 1,
        (Outcome.NOT_ANALYSED, Outcome.NOT_ANALYSED): 1,
    }
    assert sorted(ledger.comparisons.differences(EVER)) == pytest.approx([-0.5, 0.125])
    assert [each.job_id for each in ledger.comparisons.changes(EVER, 9)] == ids[:1]
    earlier = replace(EVER, until=pair.last_at - 0.5)
    assert sum(each.count for each in ledger.comparisons.outcomes(earlier)) == 2
    assert OutcomePair(reported=Outcome.PRESENT, shadow=Outcome.ABSENT, count=1) in found


def test_verdicts_say_which_of_the_two_was_right(ledger: Ledger, instance: Maker) -> None:
    job_id = analyse(ledger, instance())
    (work,) = lease(ledger)
    ledger.shadows.record([(work, ABSENT)])
    report_uid = f"2.25.{job_id[-6:]}"
    for user, opinion, right in (
        ("ann", Opinion.AGREE, None),
        ("bob", Opinion.UNSURE, None),
        ("cat", Opinion.DISAGREE, "absent"),
    ):
        ledger.verdicts.record(
            job_id, report_uid=report_uid, user=user, opinion=opinion, right_finding=right
        )
    (judged,) = ledger.comparisons.judged(EVER)
    assert judged == JudgedPair(
        right="absent", reported=Outcome.PRESENT, shadow=Outcome.ABSENT, count=1
    )


def test_drift_counts_films_by_group_on_each_database(ledger: Ledger, instance: Maker) -> None:
    analyse(ledger, instance(1))
    analyse(ledger, instance(2), REFUSED)
    ledger.jobs.receive(instance(3))
    counts = ledger.drift.counts(0, 9e9)
    assert counts[DriftInput.VIEW] == {"PA": 2}
    assert counts[DriftInput.MANUFACTURER] == {"fuji": 2}
    assert counts[DriftInput.SIZE] == {"not stated": 2}
    assert counts[DriftInput.PROBABILITY] == {"0.65 to 0.8": 1}
    assert counts[DriftInput.REFUSAL] == {"none": 1, "lateral-view": 1}
    assert ledger.drift.counts(0, 1)[DriftInput.VIEW] == {}
    ledger.drift.accept(counts, 5.0, 6.0)
    ledger.drift.accept({DriftInput.VIEW: counts[DriftInput.VIEW]}, 7.0, 8.0)
    accepted = ledger.drift.accepted()
    assert accepted.keys() == set(DriftInput)
    view = accepted[DriftInput.VIEW]
    assert (view.kind, view.counts, view.since) == (ReferenceKind.SITE, {"PA": 2}, 7.0)
    assert ledger.drift.forget() == len(DriftInput)
    assert ledger.drift.accepted() == {}
