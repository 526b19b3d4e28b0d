"""Gather what the page of an instance shows."""

import time
from collections.abc import Sequence
from typing import Any, Final

from service.domain.advice import ADVICE
from service.domain.delivery import OutputRecord
from service.domain.job import FINISHED, Job, JobState
from service.domain.patient import Patient
from service.domain.routing import OutputKind
from service.domain.user import Identity, Permission
from service.domain.verdict import FINDINGS, LONGEST_COMMENT, Verdict
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.instance.bundle_facts import bundle_facts
from service.web.instance.dismissal import dismissal_of
from service.web.instance.probability_scale import scale_of_other, scale_of_pneumonia
from service.web.instance.report_text import report_texts
from service.web.instance.revisions import revision_rows
from service.web.instance.timeline import ACTIONS, timeline
from service.web.patient_words import patient_head, study_order, written_date
from service.web.render import STATE_WORDS, zone

_STOPPED: Final = frozenset({JobState.PARKED, JobState.NOT_ANALYSED})
PAGE_STATE_WORDS: Final = {**STATE_WORDS, JobState.REPORTED: "Reported, being delivered"}
OUTPUT_WORDS: Final = {
    OutputKind.SR: "Report",
    OutputKind.OVERLAY: "Overlay",
    OutputKind.GSPS: "Presentation state",
    OutputKind.PDF: "Page to print",
}


def instance_values(
    settings: Settings, ledger: Ledger, spool: Spool, job: Job, identity: Identity
) -> dict[str, Any]:
    """Return the values of the page of a job, those about the patient only for who may see them."""
    outputs = ledger.queries.outputs(job.id)
    trace = ledger.queries.trace(job.id)
    acts = ledger.related.acts(job.id, ACTIONS)
    verdicts = ledger.verdicts.of_job(job.id)
    report_uid = _report_uid(outputs)
    values = {
        "job": job,
        "outputs": outputs,
        "output_words": OUTPUT_WORDS,
        "zone": zone(time.time()),
        "advice": ADVICE.get(job.reason) if job.reason and job.state in _STOPPED else None,
        "scale": scale_of_pneumonia(job),
        "other_scale": scale_of_other(job, ledger.evidence.of(job.id)),
        "facts": bundle_facts(settings.bundle.path, job.population, job.operating_point),
        "deliveries": ledger.queries.deliveries(job.id),
        "page_state_words": PAGE_STATE_WORDS,
        "dismissal": dismissal_of(job, trace, acts),
        "steps": timeline(trace, acts, verdicts),
        "trace_id": settings.tracing.trace_id(job.id),
        "trace_page": settings.tracing.page_of(job.id),
        "report_uid": report_uid,
        "verdicts": verdicts,
        "counting": _counting(verdicts),
        "right_findings": [each for each in FINDINGS if each != job.finding],
        "longest_comment": LONGEST_COMMENT,
        "can_requeue": job.state is JobState.PARKED,
        "can_reanalyse": job.state in {*FINISHED, JobState.PARKED} and job.purged_at is None,
        "corrections": ledger.related.corrections(job.id),
        "of_study": ledger.related.of_study(job),
        **_revisions(ledger, job),
    }
    if identity.may(Permission.PATIENT):
        recorded = ledger.patients.of(job.id)
        patient = recorded or Patient()
        of_job = [row.revision for row in values["revisions"] if row.revision.job_id == job.id]
        uids = dict.fromkeys([report_uid, *(each.sop_instance_uid for each in of_job)])
        values |= {
            "patient": patient_head(patient),
            "patient_is_recorded": recorded is not None,
            "of_patient": [
                (
                    each,
                    written_date(of_it.study_date),
                    study_order(of_it.study_date, patient.study_date),
                )
                for each, of_it in ledger.related.others_of_patient(job, patient)
            ],
            "report_texts": report_texts(spool, job.id, [uid for uid in uids if uid]),
        }
    return values


def _revisions(ledger: Ledger, job: Job) -> dict[str, Any]:
    revisions = ledger.queries.revisions(job)
    reports = ledger.related.reports({each.job_id for each in revisions})
    return {"revisions": revision_rows(revisions, reports)}


def _report_uid(outputs: Sequence[OutputRecord]) -> str | None:
    """Return the SOP Instance UID of the current report."""
    return next((each.sop_instance_uid for each in outputs if each.kind == OutputKind.SR), None)


def _counting(verdicts: Sequence[Verdict]) -> set[int | None]:
    """Return the ids of the verdicts that count: the latest of each user on each report."""
    latest = {(each.report_uid, each.user): each.id for each in verdicts}
    return set(latest.values())
