"""The model card of the configured bundle."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.domain.user import Permission
from service.web.access import require
from service.web.instance.bundle_facts import bundle_facts, model_card
from service.web.problem import not_found
from service.web.render import render


def router(bundle: Path) -> APIRouter:
    """Build the route of the model card."""
    routes = APIRouter(include_in_schema=False, dependencies=[require(Permission.VIEW)])

    @routes.get("/model")
    def _model(request: Request) -> Response:
        card = model_card(bundle)
        if card is None:
            raise not_found("model card in the configured bundle")
        from service.web.markdown import rendered  # noqa: PLC0415 -- no other page is in Markdown

        facts = bundle_facts(bundle, None)
        return render(
            request, "model.html", {"card": rendered(card), "model": facts.model if facts else ""}
        )

    return routes
