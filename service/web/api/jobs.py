"""List jobs, look one up, and fetch its outputs."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from service.domain.audit import Action
from service.domain.job import Job, JobState
from service.domain.user import Identity, Permission
from service.storage.ledger import JobFilter, Ledger, Position
from service.storage.spool import Spool
from service.web.access import require
from service.web.api.documentation import DICOM, JobId, OutputKindName, described, example
from service.web.api.examples import JOB_PAGE, WHOLE_JOB
from service.web.api.paging import (
    CURSOR,
    MOST,
    USUAL,
    PageQuery,
    cursor_of,
    link_next,
    next_address,
    position_of,
)
from service.web.lookup import known_job, known_output
from service.web.schemas.details import (
    EvidenceResponse,
    JobPageResponse,
    OperatingPointResponse,
    PatientResponse,
    WholeJobResponse,
)
from service.web.schemas.jobs import (
    DeliveryResponse,
    EventResponse,
    JobResponse,
    OutputResponse,
    RevisionResponse,
)
from service.web.trail import Trail

_UID = r"^[0-9.]{1,64}$"
_LATEST = 1e11  # seconds since the epoch; beyond it floats are no moments any more
Moment = Annotated[float, Query(ge=0, le=_LATEST, allow_inf_nan=False)]


class JobQuery(PageQuery):
    """Which jobs are listed, and from where on."""

    state: JobState | None = None
    finding: Literal["present", "absent", "indeterminate"] | None = None
    calling_ae_title: Annotated[str, Query(pattern=r"^[ -~]{1,16}$")] | None = None
    since: Annotated[Moment | None, Query(description="Received then or later.")] = None
    until: Annotated[Moment | None, Query(description="Received before.")] = None
    study_instance_uid: Annotated[str, Query(pattern=_UID)] | None = None
    series_instance_uid: Annotated[str, Query(pattern=_UID)] | None = None
    sop_instance_uid: Annotated[str, Query(pattern=_UID)] | None = None
    limit: Annotated[int, Query(ge=1, le=MOST)] = USUAL
    cursor: Annotated[
        str | None,
        Query(pattern=CURSOR, description="From `next` of the page before."),
    ] = None

    def filter(self) -> JobFilter:
        """Return what the ledger filters by."""
        return JobFilter(**self.model_dump(exclude={"limit", "cursor"}))


def router(ledger: Ledger, spool: Spool, trail: Trail) -> APIRouter:
    """Build the routes of jobs."""
    routes = APIRouter(tags=["jobs"])

    @routes.get(
        "/jobs",
        operation_id="listJobs",
        summary="List jobs, the newest first",
        dependencies=[require(Permission.VIEW)],
        responses=described(example("A page of jobs.", JOB_PAGE)),
    )
    def _jobs(query: Annotated[JobQuery, Query()], response: Response) -> JobPageResponse:
        after = None if query.cursor is None else position_of(query.cursor)
        found = ledger.listing.jobs(query.filter(), query.limit + 1, after)
        jobs = found[: query.limit]
        following = _following(query, jobs) if len(found) > query.limit else None
        link_next(response, following)
        return JobPageResponse(jobs=list(map(JobResponse.of, jobs)), next=following)

    @routes.get(
        "/jobs/{job_id}",
        operation_id="getJob",
        summary="Look up one job with everything that is known about it",
        responses=described(example("The job.", WHOLE_JOB)),
    )
    def _job(
        request: Request, job_id: JobId, identity: Annotated[Identity, require(Permission.VIEW)]
    ) -> WholeJobResponse:
        job = known_job(ledger, job_id)
        trail.record(request, Action.VIEW, job=job)
        return _whole(ledger, job, identity)

    @routes.get(
        "/jobs/{job_id}/outputs/{kind}",
        operation_id="getOutput",
        summary="Fetch an output of a job as a DICOM file",
        dependencies=[require(Permission.PATIENT)],
        response_class=FileResponse,
        responses=described({200: DICOM}, gone=True),
    )
    def _output(request: Request, job_id: JobId, kind: OutputKindName) -> FileResponse:
        job = known_job(ledger, job_id)
        file = known_output(ledger, spool, job, kind)
        trail.record(request, Action.DOWNLOAD, job=job, kind=kind)
        return FileResponse(file, media_type="application/dicom", filename=f"{job.id}-{kind}.dcm")

    return routes


def _following(query: JobQuery, jobs: list[Job]) -> str:
    last = Position(jobs[-1].received_at, jobs[-1].id)
    return next_address("/api/v1/jobs", query, cursor=cursor_of(last))


def _whole(ledger: Ledger, job: Job, identity: Identity) -> WholeJobResponse:
    may_see = identity.may(Permission.PATIENT)
    patient = ledger.patients.of(job.id) if may_see else None
    evidence = ledger.evidence.of(job.id) if may_see else None
    queries = ledger.queries
    return WholeJobResponse(
        job=JobResponse.of(job),
        operating_point=OperatingPointResponse.of(job),
        patient=PatientResponse.of(patient) if patient else None,
        evidence=EvidenceResponse.of(evidence) if evidence else None,
        outputs=list(map(OutputResponse.of, queries.outputs(job.id))),
        revisions=list(map(RevisionResponse.of, queries.revisions(job))),
        deliveries=list(map(DeliveryResponse.of, queries.deliveries(job.id))),
        trace=[
            EventResponse.of(each, with_sentence=identity.may_read_sentences)
            for each in queries.trace(job.id)
        ],
    )
