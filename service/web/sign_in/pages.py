"""The page to sign in on, with name and password, and the sign-out."""

from functools import partial
from http import HTTPStatus
from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from service.access.password_sign_in import PasswordSignIn
from service.access.throttle import SIGN_IN, Throttle
from service.domain.audit import Action, AuditOutcome
from service.domain.user import OPEN_IDENTITY, Permission
from service.settings import SignInSettings
from service.storage.ledger import Ledger
from service.web.access import NOBODY, Authenticator, read_form, require
from service.web.problem import Problem
from service.web.render import render
from service.web.sign_in.forwarded import client_address
from service.web.sign_in.next_page import START, local_path
from service.web.sign_in.session_cookie import BrowserSessions, identity_of
from service.web.trail import Trail

# the same for a wrong name, a wrong password, a disabled and a locked user
NOT_SIGNED_IN: Final = (
    "Name and password do not match, or this user may not sign in now. After several wrong "
    "passwords a user is locked out for a while."
)
_AT_ONCE: Final = 4
TOO_MANY: Final = "Too many attempts to sign in from this address: try again later."


def router(
    settings: SignInSettings,
    ledger: Ledger,
    passwords: PasswordSignIn,
    throttle: Throttle,
    sessions: BrowserSessions,
    trail: Trail,
) -> APIRouter:
    """Build the routes of sign-in and sign-out; the first two are public."""
    routes = APIRouter(include_in_schema=False)
    # threads of their own: hashes take turns, and the other pages must not wait for theirs
    at_once = CapacityLimiter(_AT_ONCE)

    def _page(request: Request, next_page: str, message: str = "", status: int = 200) -> Response:
        request.state.identity = NOBODY
        users = ledger.users.all()
        values = {
            "next": local_path(next_page),
            "message": message,
            "has_users": bool(users),
            "has_passwords": any(each.password_hash for each in users),
            "has_openid": settings.openid_issuer is not None,
            "has_proxy": settings.proxy_header is not None,
        }
        return render(request, "sign_in.html", values, status)

    def _attempt(request: Request, name: str, password: str, next_page: str) -> Response:
        wait = throttle.attempt(SIGN_IN, client_address(request))
        if wait is not None:
            page = _page(request, next_page, TOO_MANY, HTTPStatus.TOO_MANY_REQUESTS)
            page.headers["Retry-After"] = str(wait)
            return page
        attempt = passwords.attempt(name, password)
        if attempt.succeeded and attempt.user is not None:
            return sessions.sign_in(request, attempt.user, by="password", next_page=next_page)
        request.state.identity = identity_of(attempt.user) if attempt.user else NOBODY
        trail.record(request, Action.SIGN_IN, outcome=AuditOutcome.FAILURE, by="password")
        return _page(request, next_page, NOT_SIGNED_IN, HTTPStatus.FORBIDDEN)

    @routes.get("/sign-in")
    def _sign_in_page(request: Request, next: str = START) -> Response:  # noqa: A002 -- the field's name
        authenticator: Authenticator = request.app.state.authenticator
        if authenticator.identify(request) not in {None, OPEN_IDENTITY}:
            return RedirectResponse(local_path(next), HTTPStatus.SEE_OTHER)
        return _page(request, next)

    @routes.post("/sign-in")
    async def _sign_in(request: Request) -> Response:
        form = await read_form(request)
        name, password, next_page = (
            form.get(field, [""])[0] for field in ("name", "password", "next")
        )
        if not name or not password:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "Send a name and a password.")
        attempt = partial(_attempt, request, name, password, next_page)
        return await to_thread.run_sync(attempt, limiter=at_once)

    @routes.post("/sign-out", dependencies=[require(Permission.VIEW, person=True)])
    def _sign_out(request: Request) -> Response:
        return sessions.sign_out(request)

    return routes
