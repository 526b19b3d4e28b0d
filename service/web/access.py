"""Recognise who sends a request, and require the permission that its route needs."""

import hmac
from http import HTTPStatus
from typing import Any, Final

from anyio import to_thread
from fastapi import Depends, Request

from service.domain.audit import Action, AuditOutcome
from service.domain.user import (
    OPEN_IDENTITY,
    Identity,
    Permission,
    SignedInBy,
    permissions_of,
)
from service.storage.ledger import Ledger
from service.storage.ledger.access.sessions import Session
from service.web.problem import Problem
from service.web.trail import Trail

SESSION_COOKIE: Final = "lobar_session"
CSRF_FIELD: Final = "csrf_token"  # of a form, or of the address of an upload without a script
CSRF_HEADER: Final = "x-csrf-token"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM: Final = "application/x-www-form-urlencoded"


class Authenticator:
    """Recognises who sends a request."""

    def __init__(self, ledger: Ledger, *, idle_seconds: float) -> None:
        self._ledger = ledger
        self._idle_seconds = idle_seconds

    def identify(self, request: Request) -> Identity | None:
        """Return who sends a request; None if that is not known and there are users.

        Raises:
            LedgerError: the ledger does not answer.
        """
        token = request.cookies.get(SESSION_COOKIE)
        session = (
            self._ledger.sessions.find(token, idle_seconds=self._idle_seconds) if token else None
        )
        if session is not None:
            return Identity(
                name=session.user.name,
                role=session.user.role,
                permissions=permissions_of(session.user.role),
                signed_in_by=SignedInBy.SESSION,
                csrf_token=session.csrf_token,
            )
        return None if self._ledger.users.are_there() else OPEN_IDENTITY

    def _session(self, token: str) -> Session | None:
        return self._ledger.sessions.find(token, idle_seconds=self._idle_seconds)


class Requirement:
    """The permission that a route requires; FastAPI calls it before the route."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, request: Request) -> Identity:
        """Return who sends the request.

        Raises:
            Problem: that is not known, or not permitted, or the form is of another session.
        """
        authenticator: Authenticator = request.app.state.authenticator
        identity = await to_thread.run_sync(authenticator.identify, request)
        if identity is None:
            raise Problem(HTTPStatus.UNAUTHORIZED, "Sign in first.")
        request.state.identity = identity
        if not identity.may(self.permission):
            await _record_denied(request, identity, permission=self.permission)
            raise Problem(HTTPStatus.FORBIDDEN, _forbidden(identity, self.permission))
        if identity.signed_in_by is SignedInBy.SESSION and request.method not in _SAFE_METHODS:
            await _require_csrf_token(request, identity)
        return identity


def require(permission: Permission) -> Any:  # noqa: ANN401 -- what FastAPI's Depends is
    """Build the dependency of a route that requires a permission; its value is the identity.

    Use it as `identity: Annotated[Identity, require(Permission.VIEW)]`, or among the
    `dependencies` of a route or router. The identity is in `request.state.identity` too.
    """
    return Depends(Requirement(permission))


async def _record_denied(
    request: Request,
    identity: Identity,
    *,
    permission: Permission | None = None,
    why: str | None = None,
) -> None:
    """Record it in the audit trail, of those who are known: anybody could fill it otherwise."""
    if identity.signed_in_by is SignedInBy.OPEN:
        return
    path = str(getattr(request.scope.get("route"), "path", ""))  # its pattern, not what was sent
    trail: Trail = request.app.state.trail

    def record() -> None:
        failure = AuditOutcome.FAILURE
        trail.record(
            request, Action.DENIED, outcome=failure, route=path, permission=permission, why=why
        )

    await to_thread.run_sync(record)


def _forbidden(identity: Identity, permission: Permission) -> str:
    if identity.signed_in_by is SignedInBy.OPEN:
        return "This needs a sign-in, and there is no user yet: `lobar user add` makes the first."
    return f"Your role, {identity.role}, does not include this permission: {permission}."


async def _require_csrf_token(request: Request, identity: Identity) -> None:
    sent = request.headers.get(CSRF_HEADER) or request.query_params.get(CSRF_FIELD) or ""
    if not sent and request.headers.get("content-type", "").startswith(_FORM):
        sent = str((await request.form()).get(CSRF_FIELD, ""))
    if not hmac.compare_digest(sent.encode(), identity.csrf_token.encode()):
        await _record_denied(request, identity, why="csrf-token")
        raise Problem(
            HTTPStatus.FORBIDDEN, "The form is of another session: go back, reload, and try again."
        )
