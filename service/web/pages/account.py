"""The page of the person who signed in: the role, API tokens, the password."""

import time
from functools import partial
from http import HTTPStatus
from typing import Annotated, Final

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from service.access.names import AccessError, new_password, token_label
from service.access.password_sign_in import PasswordSignIn
from service.access.passwords import Passwords
from service.access.throttle import SIGN_IN, Throttle
from service.domain.audit import Action, AuditOutcome
from service.domain.user import PERMISSIONS, Identity, Permission
from service.storage.ledger import Ledger
from service.storage.ledger.access.users import UserError
from service.web.access import read_form, require
from service.web.problem import Problem, not_found
from service.web.render import render, zone
from service.web.sign_in.forwarded import client_address
from service.web.sign_in.pages import TOO_MANY
from service.web.sign_in.session_cookie import BrowserSessions
from service.web.trail import Trail

DAY_SECONDS: Final = 86400
MOST_DAYS: Final = 3650
Person = Annotated[Identity, require(Permission.VIEW, person=True)]
Form = dict[str, list[str]]


def router(  # noqa: PLR0913 -- what the routes use
    ledger: Ledger,
    passwords: PasswordSignIn,
    hashes: Passwords,
    throttle: Throttle,
    sessions: BrowserSessions,
    trail: Trail,
) -> APIRouter:
    """Build the routes of one's own account; a token may use none of them."""
    routes = APIRouter(include_in_schema=False)

    def _page(request: Request, identity: Identity, made: str | None = None) -> Response:
        user = ledger.users.find(identity.name)
        values = {
            "tokens": ledger.api_tokens.of(identity.name),
            "made": made,
            "scopes": _scopes_of(identity),
            "has_password": user is not None and user.password_hash is not None,
            "zone": zone(time.time()),
        }
        status = HTTPStatus.OK if made is None else HTTPStatus.CREATED
        return render(request, "account.html", values, status)

    def _make_token(request: Request, identity: Identity, form: Form) -> Response:
        scopes = _chosen_scopes(identity, form.get("scope", []))
        days = _days(form.get("days", [""])[0])
        try:
            token, secret = ledger.api_tokens.add(
                identity.name,
                label=token_label(form.get("label", [""])[0]),
                scopes=scopes,
                seconds=None if days is None else days * DAY_SECONDS,
            )
        except (AccessError, UserError) as exc:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc)) from exc
        trail.record(request, Action.TOKEN, change="add", token=token.id)
        return _page(request, identity, secret)

    def _change_password(request: Request, identity: Identity, form: Form) -> Response:
        old, new, again = (form.get(each, [""])[0] for each in ("old", "new", "again"))
        if new != again:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The two new passwords differ.")
        try:
            new_password(new)
        except AccessError as exc:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc)) from exc
        wait = throttle.attempt(SIGN_IN, client_address(request))
        if wait is not None:
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY, retry_after=wait)
        if not passwords.attempt(identity.name, old).succeeded:
            failure = AuditOutcome.FAILURE
            trail.record(request, Action.USER, outcome=failure, change="password")
            raise Problem(HTTPStatus.FORBIDDEN, "The old password is not right.")
        trail.record(request, Action.USER, user=identity.name, change="password")
        ledger.users.set_password(identity.name, hashes.hash(new))
        response = RedirectResponse("/account", HTTPStatus.SEE_OTHER)
        sessions.renew(request, response, identity.name)
        return response

    @routes.get("/account")
    def _account(request: Request, identity: Person) -> Response:
        return _page(request, identity)

    @routes.post("/account/tokens")
    async def _tokens(request: Request, identity: Person) -> Response:
        make = partial(_make_token, request, identity, await read_form(request))
        return await to_thread.run_sync(make)

    @routes.post("/account/tokens/{token_id}/revoke")
    def _revoke(request: Request, identity: Person, token_id: str) -> Response:
        if not token_id.isalnum() or not ledger.api_tokens.revoke(token_id, identity.name):
            raise not_found("token")
        trail.record(request, Action.TOKEN, change="revoke", token=token_id)
        return RedirectResponse("/account", HTTPStatus.SEE_OTHER)

    @routes.post("/account/password")
    async def _password(request: Request, identity: Person) -> Response:
        change = partial(_change_password, request, identity, await read_form(request))
        return await to_thread.run_sync(change)

    return routes


def _scopes_of(identity: Identity) -> list[Permission]:
    """List what a token of a person can be allowed, in the order of the permissions."""
    role = PERMISSIONS[identity.role] if identity.role else frozenset()
    return [each for each in Permission if each in role]


def _chosen_scopes(identity: Identity, chosen: list[str]) -> set[Permission]:
    allowed = {str(each): each for each in _scopes_of(identity)}
    if not chosen or not allowed.keys() >= set(chosen):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"Choose what the token may do, among: {', '.join(allowed)}.",
        )
    return {allowed[each] for each in chosen}


def _days(given: str) -> int | None:
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= MOST_DAYS):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"A token is valid for 1 to {MOST_DAYS} days."
        )
    return int(given)
