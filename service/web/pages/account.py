"""The page of the person who signed in: the role, API tokens, the password."""

import time
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


class Account:
    """What a person may do with the own account."""

    def __init__(
        self,
        ledger: Ledger,
        passwords: PasswordSignIn,
        hashes: Passwords,
        throttle: Throttle,
        sessions: BrowserSessions,
        trail: Trail,
    ) -> None:
        self._ledger = ledger
        self._passwords = passwords
        self._hashes = hashes
        self._throttle = throttle
        self._sessions = sessions
        self._trail = trail

    def page(self, request: Request, identity: Identity, made: str | None = None) -> Response:
        """Render the page; with a token that was made just now."""
        user = self._ledger.users.find(identity.name)
        values = {
            "tokens": self._ledger.api_tokens.of(identity.name),
            "made": made,
            "scopes": _scopes_of(identity),
            "has_password": user is not None and user.password_hash is not None,
            "zone": zone(time.time()),
        }
        status = HTTPStatus.OK if made is None else HTTPStatus.CREATED
        return render(request, "account.html", values, status)

    def make_token(self, request: Request, identity: Identity, form: Form) -> Response:
        """Make a token, and show it on the page, this once.

        Raises:
            Problem: a field cannot be used.
        """
        scopes = _chosen_scopes(identity, form.get("scope", []))
        days = _days(form.get("days", [""])[0])
        try:
            token, secret = self._ledger.api_tokens.add(
                identity.name,
                label=token_label(form.get("label", [""])[0]),
                scopes=scopes,
                seconds=None if days is None else days * DAY_SECONDS,
            )
        except (AccessError, UserError) as exc:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc)) from exc
        self._trail.record(request, Action.TOKEN, change="add", token=token.id)
        return self.page(request, identity, secret)

    def revoke(self, request: Request, identity: Identity, token_id: str) -> Response:
        """Revoke one of the person's own tokens.

        Raises:
            Problem: there is no such token.
        """
        known = token_id.isalnum() and self._ledger.api_tokens.revoke(token_id, identity.name)
        if not known:
            raise not_found("token")
        self._trail.record(request, Action.TOKEN, change="revoke", token=token_id)
        return RedirectResponse("/account", HTTPStatus.SEE_OTHER)

    def change_password(self, request: Request, identity: Identity, form: Form) -> Response:
        """Change the password, end the person's sessions, and begin a new one here.

        Raises:
            Problem: the old one is wrong, or the new one cannot be used.
        """
        old, new, again = (form.get(each, [""])[0] for each in ("old", "new", "again"))
        if new != again:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The two new passwords differ.")
        try:
            new_password(new)
        except AccessError as exc:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc)) from exc
        wait = self._throttle.attempt(SIGN_IN, client_address(request))
        if wait is not None:
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY, retry_after=wait)
        if not self._passwords.attempt(identity.name, old).succeeded:
            failure = AuditOutcome.FAILURE
            self._trail.record(request, Action.USER, outcome=failure, change="password")
            raise Problem(HTTPStatus.FORBIDDEN, "The old password is not right.")
        self._ledger.users.set_password(identity.name, self._hashes.hash(new))
        self._trail.record(request, Action.USER, user=identity.name, change="password")
        response = RedirectResponse("/account", HTTPStatus.SEE_OTHER)
        self._sessions.renew(request, response, identity.name)
        return response


def router(account: Account) -> APIRouter:
    """Build the routes of one's own account; a token may use none of them."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/account")
    def _account(request: Request, identity: Person) -> Response:
        return account.page(request, identity)

    @routes.post("/account/tokens")
    async def _tokens(request: Request, identity: Person) -> Response:
        form = await read_form(request)
        return await to_thread.run_sync(account.make_token, request, identity, form)

    @routes.post("/account/tokens/{token_id}/revoke")
    def _revoke(request: Request, identity: Person, token_id: str) -> Response:
        return account.revoke(request, identity, token_id)

    @routes.post("/account/password")
    async def _password(request: Request, identity: Person) -> Response:
        form = await read_form(request)
        return await to_thread.run_sync(account.change_password, request, identity, form)

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
    is_number = given.isascii() and given.isdigit() and len(given) <= len(str(MOST_DAYS))
    if not (is_number and 1 <= int(given) <= MOST_DAYS):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"A token is valid for 1 to {MOST_DAYS} days."
        )
    return int(given)
