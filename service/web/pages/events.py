"""Server-sent events: that the ledger changed, and nothing of what is in it."""

from http import HTTPStatus
from typing import Final

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.domain.user import Identity, Permission
from service.storage.ledger import LedgerError
from service.web.access import Authenticator, require
from service.web.changes import EVENTS_PATH, Changes, TooManyStreamsError
from service.web.problem import Problem
from service.web.sign_in.forwarded import client_address

_RETRY_SECONDS: Final = 30


class EventStream(StreamingResponse):
    """A stream that has its place from before its first byte until it is over.

    Not until its iterator ends: one that never began does not end either.
    """

    def __init__(self, changes: Changes, request: Request) -> None:
        super().__init__(
            (),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},  # else nginx keeps events back
        )
        self._changes = changes
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream.

        Raises:
            Problem: there is no place for it; nothing is sent then.
        """
        try:
            with self._changes.place(_whose(self._request)) as wake_up:
                self.body_iterator = self._changes.follow(wake_up, self._is_welcome)
                await super().__call__(scope, receive, send)
        except TooManyStreamsError as exc:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many pages are open; this one is not kept up to date.",
                retry_after=_RETRY_SECONDS,
            ) from exc

    async def _is_welcome(self) -> bool:
        authenticator: Authenticator = self._request.app.state.authenticator
        try:
            identity = await to_thread.run_sync(authenticator.identify, self._request)
        except (LedgerError, Problem):  # what was sent already cannot become an error
            return False
        return identity is not None and identity.may(Permission.VIEW)


def router(changes: Changes) -> APIRouter:
    """Build the route of the events."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(EVENTS_PATH, dependencies=[require(Permission.VIEW)])
    async def _events(request: Request) -> EventStream:
        return EventStream(changes, request)

    return routes


def _whose(request: Request) -> str:
    """Return the user of a request, or, while there is none, its address."""
    identity: Identity = request.state.identity
    return identity.name or client_address(request)
