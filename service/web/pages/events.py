"""Server-sent events: that the ledger changed, and nothing of what is in it."""

from http import HTTPStatus
from typing import Final

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from service.domain.user import Permission
from service.storage.ledger import LedgerError
from service.web.access import Authenticator, require
from service.web.changes import EVENTS_PATH, Changes, TooManyStreamsError
from service.web.problem import Problem

_RETRY_SECONDS: Final = 30


def router(changes: Changes) -> APIRouter:
    """Build the route of the events."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(EVENTS_PATH, dependencies=[require(Permission.VIEW)])
    async def _events(request: Request) -> StreamingResponse:
        try:
            changes.require_room()
        except TooManyStreamsError as exc:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many pages are open; this one is not kept up to date.",
                retry_after=_RETRY_SECONDS,
            ) from exc
        authenticator: Authenticator = request.app.state.authenticator

        async def is_welcome() -> bool:
            try:
                identity = await to_thread.run_sync(authenticator.identify, request)
            except LedgerError:
                return False
            return identity is not None and identity.may(Permission.VIEW)

        return StreamingResponse(
            changes.follow(is_welcome),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},  # else nginx keeps events back
        )

    return routes
