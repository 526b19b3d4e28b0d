"""What a person who programs begins with: a token, the addresses, and three commands."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.domain.user import Permission
from service.web.access import require
from service.web.render import render


def router() -> APIRouter:
    """Build the route of the page about the API."""
    routes = APIRouter(include_in_schema=False, dependencies=[require(Permission.VIEW)])

    @routes.get("/api")
    def _api(request: Request) -> Response:
        return render(request, "api.html", {"root": str(request.base_url).rstrip("/")})

    return routes
