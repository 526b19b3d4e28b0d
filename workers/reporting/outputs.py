"""Build the outputs of a conclusion, write them to the outbox and record them in the ledger."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Final

from pydicom.dataset import Dataset

from service.crash_points import CrashPoint, passed
from service.domain.delivery import OutputRecord
from service.domain.evidence import Evidence
from service.domain.job import ConclusionRecord, Job, OtherAbnormality, Revision
from service.domain.monitoring.shadow import NOT_MONITORED, Monitored
from service.domain.routing import Outcome, OutputKind, Routes
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from workers.prediction import Conclusion, Prediction
from workers.reporting.output import Output
from workers.reporting.overlay.secondary_capture import build_overlay
from workers.reporting.pdf.document import build_pdf
from workers.reporting.picture import Pixels, Shown
from workers.reporting.presentation_state.build import build_presentation_state
from workers.reporting.revision import plan_revision
from workers.reporting.source import Source
from workers.reporting.sr.report import build_report
from workers.reporting.uids import FIRST, OutputIdentity, result_uids
from workers.tones import Tones

_PICTURED: Final = frozenset({OutputKind.OVERLAY, OutputKind.PDF})  # show the radiograph itself
DEFAULT_KINDS: Final = frozenset(
    {OutputKind.SR, OutputKind.OVERLAY}
)  # kept for a destination configured later


def make_outputs(
    header: Dataset,
    picture: Pixels | None,
    conclusion: Conclusion,
    *,
    kinds: Collection[OutputKind],
    now: datetime,
    identity: OutputIdentity = FIRST,
    tones: Tones | None = None,
) -> Iterator[Output]:
    """Build the outputs of these kinds, one at a time.

    Args:
        header: The source's header, as `build_report` takes it.
        picture: The source's pixels, as `build_overlay` takes them.
        conclusion: What was concluded about the source.
        kinds: The kinds to build. A presentation state is left out for a source in colour.
        now: When the outputs are dated.
        identity: Which outputs about the source these are.
        tones: How the picture was made, if that is known.

    Raises:
        ReportError: no valid object can be built for this source.
    """
    if OutputKind.SR in kinds:
        yield build_report(header, conclusion, now=now, identity=identity)
    if OutputKind.OVERLAY in kinds:
        yield build_overlay(header, picture, conclusion, now=now, identity=identity)
    if OutputKind.GSPS in kinds:
        state = build_presentation_state(
            header, conclusion, now=now, identity=identity, tones=tones
        )
        if state is not None:  # None for a source in colour
            yield state
    if OutputKind.PDF in kinds:
        yield build_pdf(header, picture, conclusion, now=now, identity=identity)


def store_outputs(  # noqa: PLR0913 -- all of it is one transaction
    settings: Settings,
    ledger: Ledger,
    spool: Spool,
    job: Job,
    header: Dataset,
    shown: Shown | None,
    conclusion: Conclusion,
    *,
    monitored: Monitored = NOT_MONITORED,
) -> None:
    """Write the outputs to the outbox, then report the job and plan its deliveries in the ledger.

    The outputs are dated by when the analysis was requested, so that a second run writes the same
    bytes. The report is always built, even where no destination takes it: a later report names it
    as its predecessor.

    Raises:
        ReportError: no valid object can be built for this source.
        NotAnalysable: an output shows the radiograph, and its picture cannot be decoded.
        StaleLeaseError: another worker has leased the job since.
        OSError: the outbox cannot be written.
    """
    source_uid = Source.read(header).sop_instance_uid
    plan = plan_revision(
        job,
        ledger.queries.revisions(job),
        lambda identity: (
            result_uids(
                kind=OutputKind.SR, source_uid=source_uid, conclusion=conclusion, identity=identity
            ).instance
        ),
    )
    routes = settings.routes
    outputs = make_outputs(
        header,
        shown.picture if shown and needs_picture(settings, conclusion.outcome) else None,
        conclusion,
        kinds=_kinds(routes, conclusion.outcome) | {OutputKind.SR},
        now=datetime.fromtimestamp(plan.at, tz=UTC),
        identity=plan.identity,
        tones=shown.tones if shown else None,
    )
    records, revision = [], None
    for output in outputs:
        spool.put_output(job.id, output.kind, output.sop_instance_uid, output.encode())
        passed(CrashPoint.REPORT_STORED)
        records.append(
            OutputRecord(
                kind=output.kind,
                sop_class_uid=output.sop_class_uid,
                sop_instance_uid=output.sop_instance_uid,
            )
        )
        if output.kind is OutputKind.SR:
            revision = Revision(
                job_id=job.id,
                sop_class_uid=output.sop_class_uid,
                sop_instance_uid=output.sop_instance_uid,
                series_instance_uid=str(output.dataset.SeriesInstanceUID),
                predecessor=plan.predecessor,
                dated_at=plan.at,
            )
    ledger.jobs.report(
        job,
        _conclusion_record(conclusion),
        records,
        routes,
        revision=revision,
        evidence=evidence_of(conclusion),
        monitored=monitored,
    )
    passed(CrashPoint.REPORT_RECORDED)


def evidence_of(conclusion: Conclusion) -> Evidence | None:
    """Return what the page of a job shows of its analysis; None for one that was not analysed."""
    if not isinstance(conclusion, Prediction):
        return None
    other = conclusion.other.operating_point if conclusion.other else None
    return Evidence(
        region=conclusion.region,
        attention=conclusion.attention,
        other_threshold=other.threshold if other else None,
        other_indeterminate_low=other.indeterminate_low if other else None,
        other_indeterminate_high=other.indeterminate_high if other else None,
        calibrated=conclusion.model.calibrated,
        weights_sha256=conclusion.model.weights_sha256,
    )


def needs_picture(settings: Settings, outcome: Outcome) -> bool:
    """Return whether an output that is made for an outcome shows the radiograph itself."""
    return not _kinds(settings.routes, outcome).isdisjoint(_PICTURED)


def _kinds(routes: Routes, outcome: Outcome) -> frozenset[OutputKind]:
    return routes.kinds(outcome) if routes.has_destinations else DEFAULT_KINDS


def _conclusion_record(conclusion: Conclusion) -> ConclusionRecord:
    model = conclusion.model
    point, name = model.operating_point, f"{model.name} {model.version}"
    if isinstance(conclusion, Prediction):
        return ConclusionRecord(
            finding=conclusion.finding,
            probability=conclusion.probability,
            operating_point=point.name,
            threshold=point.threshold,
            indeterminate_low=point.indeterminate_low,
            indeterminate_high=point.indeterminate_high,
            model=name,
            other=_other_record(conclusion),
            population=conclusion.population,
        )
    return ConclusionRecord(
        not_analysed_reason=conclusion.reason, operating_point=point.name, model=name
    )


def _other_record(prediction: Prediction) -> OtherAbnormality | None:
    other = prediction.other
    if other is None:
        return None
    return OtherAbnormality(
        finding=other.finding,
        probability=other.probability,
        operating_point=other.operating_point.name,
    )
