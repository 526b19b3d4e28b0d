"""The evidence of a job's analysis in the ledger, on each database."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from pydicom.uid import Comprehensive3DSRStorage
from sqlalchemy import select
from support.purged import forget_finished
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import OutputRecord
from service.domain.evidence import AttentionMap, Evidence, Region
from service.domain.job import ConclusionRecord, Instance, Job
from service.domain.reasons import Reason
from service.storage.ledger import Ledger, StaleLeaseError
from service.storage.ledger.tables import EVIDENCE

Maker = Callable[..., Instance]
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.75, operating_point="screening", model="m 1"
)
SR = OutputRecord(kind="sr", sop_class_uid=Comprehensive3DSRStorage, sop_instance_uid="2.25.1")
FOUND = Evidence(
    region=Region(top=0.5, left=0.25, bottom=0.75, right=0.5),
    attention=AttentionMap(rows=2, columns=3, values=(0.0, 0.125, 0.25, 0.5, 0.999, 1.0)),
    other_threshold=0.4,
    other_indeterminate_low=0.3,
    other_indeterminate_high=0.5,
    calibrated=True,
    weights_sha256="0f" * 32,
)


def lease(ledger: Ledger) -> Job:
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    return job


def report(ledger: Ledger, job: Job, evidence: Evidence | None) -> None:
    ledger.jobs.report(job, CONCLUSION, [SR], to([]), evidence=evidence)


def test_what_was_recorded_with_a_report_is_read_again(ledger: Ledger, instance: Maker) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    assert ledger.evidence.of(job_id) is None
    report(ledger, lease(ledger), FOUND)
    assert ledger.evidence.of(job_id) == FOUND


def test_another_analysis_replaces_it_and_one_without_a_finding_removes_it(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    report(ledger, lease(ledger), FOUND)
    ledger.jobs.reanalyse(job_id)
    later = Evidence(calibrated=False, weights_sha256="a0" * 32)
    report(ledger, lease(ledger), later)
    assert ledger.evidence.of(job_id) == later
    ledger.jobs.reanalyse(job_id)
    assert ledger.evidence.of(job_id) == later, "until the analysis that was asked for has ended"
    ledger.jobs.not_analysed(lease(ledger), Reason.LATERAL)
    assert ledger.evidence.of(job_id) is None


def test_a_worker_that_lost_its_lease_leaves_it_unchanged(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    stale = lease(ledger)
    clock.pass_seconds(61)
    report(ledger, lease(ledger), FOUND)
    with pytest.raises(StaleLeaseError):
        report(ledger, stale, replace(FOUND, region=None))
    assert ledger.evidence.of(job_id) == FOUND


def test_it_goes_with_its_job(ledger: Ledger, instance: Maker) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    report(ledger, lease(ledger), FOUND)
    ledger.jobs.dismiss(job_id, "a test")
    assert forget_finished(ledger) == [job_id]
    assert ledger.evidence.of(job_id) is None


def test_a_map_of_fourteen_cells_a_side_has_about_one_kilobyte(
    ledger: Ledger, instance: Maker
) -> None:
    values = tuple((n / 196 + 1 / 3) % 1 for n in range(196))
    attention = AttentionMap(rows=14, columns=14, values=values)
    job_id = ledger.jobs.receive(instance()).job_id
    report(ledger, lease(ledger), Evidence(attention=attention))
    with ledger._database.read() as connection:
        stored = connection.execute(select(EVIDENCE.c.attention)).scalar_one()
    assert len(json.dumps(stored)) < 1500
    found = ledger.evidence.of(job_id)
    assert found is not None
    assert found.attention is not None
    assert found.attention.values == pytest.approx(values, abs=0.0005)
