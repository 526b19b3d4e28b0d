"""Sign in at an identity provider: send the browser there, and take what it brings back."""

import base64
import binascii
import hmac
import json
import re
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from service.access.names import AccessError
from service.access.openid import Beginning, OpenIdProvider, ProviderError
from service.access.provided_users import role_of, subject_sha256, user_of_subject
from service.access.throttle import OPENID, SIGN_IN, Throttle
from service.domain.audit import Action, AuditOutcome
from service.domain.user import User
from service.settings import SignInSettings
from service.settings.types import CALLBACK_PATH
from service.storage.ledger import Ledger
from service.web.access import NOBODY
from service.web.problem import Problem, not_found
from service.web.sign_in.forwarded import client_address
from service.web.sign_in.next_page import START, local_path
from service.web.sign_in.pages import TOO_MANY
from service.web.sign_in.session_cookie import BrowserSessions, identity_of
from service.web.trail import Trail

COOKIE: Final = "lobar_openid"  # what the browser keeps until it is back
COOKIE_PATH: Final = "/sign-in/openid"
NO_ROLE: Final = (
    "The identity provider knows you, but you have no role here. Ask an administrator of Lobar "
    "which group you need."
)
_COOKIE_SECONDS: Final = 600
_FIELDS: Final = ("state", "nonce", "code_verifier", "next")
_ERROR_CODE: Final = re.compile(r"[a-z_]{1,64}")  # RFC 6749 4.1.2.1

log = structlog.get_logger()


class OpenIdSignIn:
    """The sign-in at the identity provider of the settings."""

    def __init__(
        self,
        settings: SignInSettings,
        ledger: Ledger,
        throttle: Throttle,
        sessions: BrowserSessions,
        trail: Trail,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._throttle = throttle
        self._sessions = sessions
        self._trail = trail
        self._provider = OpenIdProvider(settings)

    def begin(self, request: Request, next_page: str) -> Response:
        """Send the browser to the provider.

        Raises:
            Problem: there is none, it cannot be used, or the address went there too often.
        """
        self._require_provider(request)
        self._require_patience(request, OPENID)
        try:
            beginning = self._provider.begin(self._callback_url(request))
        except ProviderError as exc:
            log.warning("openid_provider_failed", message=str(exc))
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The identity provider cannot be used now; `lobar check` says why.",
            ) from exc
        response = RedirectResponse(beginning.address, HTTPStatus.SEE_OTHER)
        response.set_cookie(
            COOKIE,
            _kept_by_browser(beginning, local_path(next_page)),
            max_age=_COOKIE_SECONDS,
            path=COOKIE_PATH,
            secure=self._sessions.is_secure(request),
            httponly=True,
            samesite="lax",
        )
        return response

    def finish(self, request: Request) -> Response:
        """Sign in the person whom the provider sent back.

        Raises:
            Problem: the answer is not to a question of this browser, or the person has no role.
        """
        self._require_provider(request)
        self._require_patience(request, SIGN_IN)
        kept = _kept(request.cookies.get(COOKIE, ""))
        sent = request.query_params.get("state", "")
        if kept is None or not hmac.compare_digest(sent.encode(), kept["state"].encode()):
            raise Problem(
                HTTPStatus.BAD_REQUEST,
                "This sign-in took too long, or began in another browser: sign in again.",
            )
        user = self._user(request, self._claims(request, kept))
        response = self._sessions.sign_in(request, user, by="openid", next_page=kept["next"])
        response.delete_cookie(COOKIE, path=COOKIE_PATH, httponly=True, samesite="lax")
        return response

    def _require_provider(self, request: Request) -> None:
        request.state.identity = NOBODY
        if self._settings.openid_issuer is None:
            raise not_found("page")

    def _require_patience(self, request: Request, kind: str) -> None:
        wait = self._throttle.attempt(kind, client_address(request))
        if wait is not None:
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY, retry_after=wait)

    def _callback_url(self, request: Request) -> str:
        own = f"{request.url.scheme}://{request.url.netloc}{CALLBACK_PATH}"
        return self._settings.openid_callback_url or own

    def _claims(self, request: Request, kept: dict[str, str]) -> dict[str, object]:
        sent, issuer = request.query_params, self._settings.openid_issuer
        if "error" in sent:
            code = sent["error"] if _ERROR_CODE.fullmatch(sent["error"]) else "an error"
            sentence = f"The identity provider did not sign you in: {code}."
            raise self._refusal(request, "provider", sentence)
        if sent.get("iss", issuer) != issuer:  # RFC 9207
            sentence = "The answer is of another identity provider."
            raise self._refusal(request, "issuer", sentence)
        try:
            return self._provider.claims(
                self._callback_url(request),
                code=sent.get("code", ""),
                code_verifier=kept["code_verifier"],
                nonce=kept["nonce"],
            )
        except ProviderError as exc:
            log.warning("openid_sign_in_failed", message=str(exc))
            sentence = "The identity provider's answer cannot be used; the log says why."
            raise self._refusal(request, "answer", sentence) from exc

    def _user(self, request: Request, claims: dict[str, object]) -> User:
        settings = self._settings
        role = role_of(claims.get(settings.openid_role_claim), settings.openid_roles)
        if role is None:
            raise self._refusal(request, "no-role", NO_ROLE)
        subject = subject_sha256(settings.openid_issuer or "", str(claims["sub"]))
        name = claims.get(settings.openid_name_claim)
        try:
            provided = user_of_subject(self._ledger, subject, name, role)
        except AccessError as exc:
            raise self._refusal(request, "name", str(exc)) from exc
        self._trail.record_provided(request, provided, by="openid")
        user = provided.user
        if user.disabled_at is not None:
            request.state.identity = identity_of(user)
            raise self._refusal(request, "disabled", "You may not sign in here any more.")
        return user

    def _refusal(self, request: Request, why: str, sentence: str) -> Problem:
        failure = AuditOutcome.FAILURE
        self._trail.record(request, Action.SIGN_IN, outcome=failure, by="openid", why=why)
        return Problem(HTTPStatus.FORBIDDEN, sentence)


def router(sign_in: OpenIdSignIn) -> APIRouter:
    """Build the two routes of the sign-in at an identity provider; both are public."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/sign-in/openid")
    def _begin(request: Request, next: str = START) -> Response:  # noqa: A002 -- the field's name
        return sign_in.begin(request, next)

    @routes.get(CALLBACK_PATH)
    def _callback(request: Request) -> Response:
        return sign_in.finish(request)

    return routes


def _kept_by_browser(beginning: Beginning, next_page: str) -> str:
    values = (beginning.state, beginning.nonce, beginning.code_verifier, next_page)
    text = json.dumps(dict(zip(_FIELDS, values, strict=True)))
    return base64.urlsafe_b64encode(text.encode()).decode()


def _kept(cookie: str) -> dict[str, str] | None:
    """Read what the browser kept; None if it is nothing of this service."""
    try:
        values = json.loads(base64.urlsafe_b64decode(cookie.encode()))
    except (binascii.Error, ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.keys() != set(_FIELDS):
        return None
    is_usable = all(isinstance(each, str) and each.isascii() and each for each in values.values())
    return values if is_usable else None
