"""Recognise who sends a request, and require the permission that its route needs.

A request is recognised by an API token, by the header of a trusted proxy, or by the cookie of a
session, in this order. What a browser sends by itself, the cookie and what a proxy adds, is guarded
against other sites: every such request by `service.web.guard`, and one with a session by a token of
that session too, which only its own pages know.
"""

import hmac
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from anyio import to_thread
from fastapi import Depends, Request

from service.access.names import AccessError, user_name
from service.access.provided_users import user_of_proxy
from service.access.throttle import TOKEN, Throttle
from service.domain.audit import Action, AuditOutcome
from service.domain.user import (
    OPEN_IDENTITY,
    Identity,
    Permission,
    Role,
    SignedInBy,
    User,
    permissions_of,
)
from service.settings import SignInSettings
from service.storage.ledger import Ledger
from service.storage.ledger.access.api_tokens import PREFIX
from service.web.changes import is_by_itself
from service.web.problem import Problem
from service.web.sign_in.forwarded import client_address, is_from_proxy
from service.web.trail import Trail

SESSION_COOKIE: Final = "lobar_session"
CSRF_FIELD: Final = "csrf_token"  # of a form, or of the address of an upload without a script
CSRF_HEADER: Final = "x-csrf-token"
NOBODY: Final = Identity(name="", role=None, permissions=frozenset(), signed_in_by=SignedInBy.OPEN)
"""The sender of a request who must sign in first."""

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"
_BEARER: Final = "bearer "
_SECONDS_BETWEEN_TOUCHES: Final = 60.0  # at most
_TOUCHES_UNTIL_IDLE: Final = 4  # at least: a session in use must not become idle between two


class Authenticator:
    """Recognises who sends a request."""

    def __init__(
        self,
        settings: SignInSettings,
        ledger: Ledger,
        throttle: Throttle,
        trail: Trail,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._throttle = throttle
        self._trail = trail
        self._clock = clock or ledger.now

    def identify(self, request: Request) -> Identity | None:
        """Return who sends a request; None if that is not known and a sign-in is required.

        Raises:
            LedgerError: the ledger does not answer.
            Problem: the address sent too many tokens that are not valid.
        """
        token, names = _bearer_token(request), self._names_by_proxy(request)
        if token is not None and (token.startswith(PREFIX) or not names):
            return self._of_token(token, client_address(request))
        if names:
            return self._of_proxy(request, names)
        identity = self._of_session(request)
        return OPEN_IDENTITY if identity is None and self.is_open() else identity

    def is_open(self) -> bool:
        """Return whether the pages are open, without anything about a patient: nobody can sign in.

        Raises:
            LedgerError: the ledger does not answer.
        """
        return not self._settings.is_elsewhere and not self._ledger.users.are_there()

    def _of_token(self, token: str, address: str) -> Identity | None:
        _require_patience(self._throttle.seconds_to_wait(TOKEN, address))
        found = self._ledger.api_tokens.find(token)
        if found is None:
            _require_patience(self._throttle.attempt(TOKEN, address))
            return None
        user, shown = found
        return _identity(user, SignedInBy.TOKEN, permissions_of(user.role, shown.scopes))

    def _names_by_proxy(self, request: Request) -> list[str]:
        """Return what the proxy says of the user; nothing if the request is not a proxy's."""
        header = self._settings.proxy_header
        if header is None or not is_from_proxy(request):
            return []
        return request.headers.getlist(header)

    def _of_proxy(self, request: Request, names: list[str]) -> Identity | None:
        role_header = self._settings.proxy_role_header
        roles = request.headers.getlist(role_header) if role_header else []
        if len(names) != 1 or len(roles) > 1:  # one of them may be the client's own
            return None
        try:
            name = user_name(names[0])
            role = Role(roles[0].strip().lower()) if roles else None
        except (AccessError, ValueError):
            return None
        if role is None and role_header is not None:
            return None
        provided = user_of_proxy(self._ledger, name, role)
        if provided is None:
            return None
        self._trail.record_provided(request, provided, by="proxy")
        return _identity(provided.user, SignedInBy.PROXY)

    def _of_session(self, request: Request) -> Identity | None:
        token = request.cookies.get(SESSION_COOKIE)
        if not token:
            return None
        idle_seconds = self._settings.session_idle_seconds
        session = self._ledger.sessions.find(token, idle_seconds=idle_seconds)
        if session is None:
            return None
        # an open page that asks by itself keeps no session alive
        between = min(_SECONDS_BETWEEN_TOUCHES, idle_seconds / _TOUCHES_UNTIL_IDLE)
        is_due = session.used_at < self._clock() - between
        if is_due and not is_by_itself(request):
            self._ledger.sessions.touch(token)
        return _identity(session.user, SignedInBy.SESSION, csrf_token=session.csrf_token)


class Requirement:
    """The permission that a route requires; FastAPI calls it before the route."""

    def __init__(self, permission: Permission, *, person: bool = False) -> None:
        self.permission = permission
        self.person = person

    async def __call__(self, request: Request) -> Identity:
        """Return who sends the request.

        Raises:
            Problem: that is not known, or not permitted, or the form is of another session.
        """
        authenticator: Authenticator = request.app.state.authenticator
        request.state.identity = NOBODY
        identity = await to_thread.run_sync(authenticator.identify, request)
        if identity is None:
            raise Problem(HTTPStatus.UNAUTHORIZED, "Sign in first.")
        request.state.identity = identity
        refused = self._refuse(identity)
        forged = None if refused else await _forgery(request, identity)
        if refused or forged:
            if identity.name:
                await _record_denial(request, self.permission, "csrf-token" if forged else None)
            raise Problem(HTTPStatus.FORBIDDEN, refused or forged or "")
        return identity

    def _refuse(self, identity: Identity) -> str | None:
        if not identity.may(self.permission):
            return _forbidden(identity, self.permission)
        if not self.person:
            return None
        if identity.signed_in_by is SignedInBy.OPEN:
            return _NO_USER
        return _NO_PERSON if identity.signed_in_by is SignedInBy.TOKEN else None


def require(permission: Permission, *, person: bool = False) -> Any:  # noqa: ANN401 -- what FastAPI's Depends is
    """Build the dependency of a route that requires a permission; its value is the identity.

    Use it as `identity: Annotated[Identity, require(Permission.VIEW)]`, or among the
    `dependencies` of a route or router. The identity is in `request.state.identity` too.

    Args:
        permission: What the sender must have.
        person: Whether it must be a person who signed in, and not a program with a token.
    """
    return Depends(Requirement(permission, person=person))


async def read_form(request: Request) -> dict[str, list[str]]:
    """Read a form that changes something; a field may be there several times.

    Raises:
        Problem: it is not a form, or has NUL characters.
    """
    if not request.headers.get("content-type", "").startswith(_FORM):
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"A form is sent as {_FORM}.")
    fields: dict[str, list[str]] = {}
    for name, value in (await request.form()).multi_items():
        fields.setdefault(name, []).append(str(value))
    if any("\0" in value for values in fields.values() for value in values):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The form has NUL characters.")
    return fields


_NO_USER: Final = (
    "This needs a sign-in, and there is no user yet: "
    "`lobar user add NAME --role admin` makes the first."
)
_NO_PERSON: Final = "A token cannot do this: sign in."


def _identity(
    user: User,
    signed_in_by: SignedInBy,
    permissions: frozenset[Permission] | None = None,
    csrf_token: str = "",
) -> Identity:
    return Identity(
        name=user.name,
        role=user.role,
        permissions=permissions_of(user.role) if permissions is None else permissions,
        signed_in_by=signed_in_by,
        csrf_token=csrf_token,
    )


def _forbidden(identity: Identity, permission: Permission) -> str:
    if identity.signed_in_by is SignedInBy.OPEN:
        return _NO_USER
    if identity.signed_in_by is SignedInBy.TOKEN:
        return f"The token's scopes, within the role of its user, lack this one: {permission}."
    return f"Your role, {identity.role}, does not include this permission: {permission}."


def _bearer_token(request: Request) -> str | None:
    sent = request.headers.get("authorization", "")
    return sent[len(_BEARER) :].strip() if sent.lower().startswith(_BEARER) else None


def _require_patience(seconds: int | None) -> None:
    if seconds is not None:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "Too many tokens from this address were not valid.",
            retry_after=seconds,
        )


async def _forgery(request: Request, identity: Identity) -> str | None:
    """Return why a request may not be what the person wanted; None if it is.

    The token of the session may be in the address only of an upload without a script, because
    addresses are shown and kept.
    """
    if identity.signed_in_by is not SignedInBy.SESSION or request.method in _SAFE_METHODS:
        return None
    content_type = request.headers.get("content-type", "")
    sent = request.headers.get(CSRF_HEADER, "")
    if not sent and content_type.startswith(_MULTIPART):
        sent = request.query_params.get(CSRF_FIELD, "")
    if not sent and content_type.startswith(_FORM):
        sent = str((await request.form()).get(CSRF_FIELD, ""))
    if sent and hmac.compare_digest(sent.encode(), identity.csrf_token.encode()):
        return None
    return "The form is of another session: go back, reload, and try again."


async def _record_denial(request: Request, permission: Permission, why: str | None) -> None:
    path = str(getattr(request.scope.get("route"), "path", ""))
    record = partial(
        request.app.state.trail.record,
        request,
        Action.DENIED,
        outcome=AuditOutcome.FAILURE,
        permission=str(permission),
        method=request.method,
        route=path,
        why=why,
    )
    await to_thread.run_sync(record)
