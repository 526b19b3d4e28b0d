"""The service as a whole: its status, who asks, and the audit trail."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.audit.codes import AUDIT_TRAIL
from service.domain.audit import Action
from service.domain.user import Identity, Permission
from service.storage.ledger import Ledger
from service.web.access import require
from service.web.api.documentation import described, example
from service.web.api.examples import AUDIT, IDENTITY, STATUS
from service.web.api.paging import MOST, USUAL, PageQuery, link_next, next_address
from service.web.schemas.service import (
    AuditPageResponse,
    AuditRecordResponse,
    IdentityResponse,
    StatusResponse,
)
from service.web.trail import Trail


class AuditQuery(PageQuery):
    """Where the page of the audit trail begins."""

    limit: Annotated[int, Query(ge=1, le=MOST)] = USUAL
    before: Annotated[
        int | None, Query(ge=1, lt=1 << 63, description="Only records older than this one.")
    ] = None


def router(ledger: Ledger, trail: Trail) -> APIRouter:
    """Build the routes of the service as a whole."""
    routes = APIRouter(tags=["service"])

    @routes.get(
        "/status",
        operation_id="getStatus",
        summary="Count jobs, deliveries and due work",
        dependencies=[require(Permission.VIEW)],
        responses=described(example("The numbers now.", STATUS)),
    )
    def _status() -> StatusResponse:
        queries = ledger.queries
        return StatusResponse.of(queries.job_counts(), queries.due(), queries.delivery_counts())

    @routes.get(
        "/me",
        operation_id="getIdentity",
        summary="Say who sends this request, and what that person or program may do",
        responses=described(example("Who it is.", IDENTITY)),
    )
    def _me(identity: Annotated[Identity, require(Permission.VIEW)]) -> IdentityResponse:
        return IdentityResponse.of(identity)

    @routes.get(
        "/audit",
        operation_id="listAuditRecords",
        summary="List the audit trail, the newest first",
        dependencies=[require(Permission.ADMINISTER)],
        responses=described(example("A page of records.", AUDIT)),
    )
    def _audit(
        request: Request, query: Annotated[AuditQuery, Query()], response: Response
    ) -> AuditPageResponse:
        trail.record(request, Action.VIEW, what=AUDIT_TRAIL)
        found = ledger.audit.recent(query.limit + 1, query.before)
        records = found[: query.limit]
        following = None
        if len(found) > query.limit:
            following = next_address("/api/v1/audit", query, before=records[-1].id)
        link_next(response, following)
        return AuditPageResponse(records=list(map(AuditRecordResponse.of, records)), next=following)

    return routes
