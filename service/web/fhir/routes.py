"""Read reports as FHIR R4 resources: one, or those of a patient, an order or a study."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.domain.audit import Action
from service.domain.user import Permission
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.access import require
from service.web.dicomweb.threads import FewThreads
from service.web.fhir.capability import capability_statement
from service.web.fhir.outcome import FHIR_JSON
from service.web.fhir.query import OFFSET, ReportQuery, report_query
from service.web.fhir.resources import OBSERVATION, REPORT, HeldResources, Resources
from service.web.problem import Problem, not_found
from service.web.trail import Trail

PREFIX: Final = "/fhir"
_JSON: Final = frozenset({"json", "application/json", FHIR_JSON, "*/*", "application/*", ""})


def router(ledger: Ledger, spool: Spool, trail: Trail) -> APIRouter:
    """Build the routes; FHIR describes them, not OpenAPI."""
    held, threads = HeldResources(ledger, spool), FewThreads()
    routes = APIRouter(prefix=PREFIX, include_in_schema=False)

    @routes.get("/metadata", dependencies=[require(Permission.VIEW)])
    def _metadata(request: Request) -> Response:
        _require_json(request)
        return _answer(capability_statement(_base(request)))

    @routes.get(f"/{REPORT}", dependencies=[require(Permission.PATIENT)])
    @threads.route
    def _search(request: Request) -> Response:
        _require_json(request)
        query = report_query(_parameters(request))
        found = (
            [] if query.is_empty else list(held.find(query.wanted, query.count + 1, query.offset))
        )
        page = [each for each in found[: query.count] if each is not None]
        trail.record(request, Action.SEARCH, what="fhir", results=len(page))
        return _answer(_bundle(request, query, page, has_more=len(found) > query.count))

    @routes.get(f"/{REPORT}/{{job_id}}", dependencies=[require(Permission.PATIENT)])
    @threads.route
    def _report(request: Request, job_id: str) -> Response:
        _require_json(request)
        found = held.of(job_id)
        trail.record(request, Action.VIEW, job=found.job, what="fhir")
        return _answer(found.report)

    @routes.get(f"/{OBSERVATION}/{{resource_id}}", dependencies=[require(Permission.PATIENT)])
    @threads.route
    def _observation(request: Request, resource_id: str) -> Response:
        _require_json(request)
        job_id, delimiter, name = resource_id.partition(".")
        if not delimiter:
            raise not_found(OBSERVATION)
        found = held.of(job_id)
        observation = found.observation(name)
        trail.record(request, Action.VIEW, job=found.job, what="fhir")
        return _answer(observation)

    return routes


def _bundle(
    request: Request, query: ReportQuery, page: list[Resources], *, has_more: bool
) -> dict[str, Any]:
    """Return a page of the results (searchset)."""
    parameters = _parameters(request)
    links = [{"relation": "self", "url": _address(request, parameters)}]
    if has_more:
        following = {**parameters, OFFSET: str(query.offset + query.count)}
        links.append({"relation": "next", "url": _address(request, following)})
    entries = list(_entries(_base(request), query, page))
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "link": links}
    return {**bundle, "entry": entries} if entries else bundle  # FHIR has no empty lists


def _entries(base: str, query: ReportQuery, page: list[Resources]) -> Iterator[dict[str, Any]]:
    for each in page:
        yield _entry(base, each.report, "match")
        if query.with_results:
            for observation in each.observations:
                yield _entry(base, observation, "include")


def _entry(base: str, resource: Mapping[str, Any], mode: str) -> dict[str, Any]:
    address = f"{base}/{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": address, "resource": resource, "search": {"mode": mode}}


def _parameters(request: Request) -> dict[str, str]:
    """Return the parameters.

    Raises:
        Problem: one is given twice.
    """
    given = request.query_params.multi_items()
    if len({name for name, _ in given}) < len(given):
        raise Problem(HTTPStatus.BAD_REQUEST, "Give each search parameter once.")
    return dict(given)


def _require_json(request: Request) -> None:
    """Require that the sender takes JSON.

    Raises:
        Problem: it does not.
    """
    wanted = request.query_params.get("_format")
    accepted = [wanted] if wanted is not None else request.headers.get("accept", "").split(",")
    if not any(each.partition(";")[0].strip().lower() in _JSON for each in accepted):
        raise Problem(HTTPStatus.NOT_ACCEPTABLE, f"This server has {FHIR_JSON} only.")


def _base(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{PREFIX}"


def _address(request: Request, parameters: Mapping[str, str]) -> str:
    address = f"{_base(request)}/{REPORT}"
    return f"{address}?{urlencode(parameters)}" if parameters else address


def _answer(resource: Mapping[str, Any]) -> Response:
    return JSONResponse(resource, media_type=FHIR_JSON, headers={"Cache-Control": "no-store"})
