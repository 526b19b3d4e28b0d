"""Begin and end the session of a browser."""

from http import HTTPStatus

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from service.domain.audit import Action
from service.domain.user import Identity, SignedInBy, User, permissions_of
from service.settings import SignInSettings
from service.storage.ledger import Ledger
from service.web.access import SESSION_COOKIE
from service.web.sign_in.next_page import local_path
from service.web.trail import Trail


class BrowserSessions:
    """Begins and ends sessions, and records that."""

    def __init__(self, settings: SignInSettings, ledger: Ledger, trail: Trail) -> None:
        self._settings = settings
        self._ledger = ledger
        self._trail = trail

    def sign_in(self, request: Request, user: User, *, by: str, next_page: str) -> Response:
        """Begin a session under a new token, and lead on to a page.

        Raises:
            LedgerError: It could not be begun or recorded.
        """
        request.state.identity = identity_of(user)
        self._trail.record(request, Action.SIGN_IN, by=by)
        response = RedirectResponse(local_path(next_page), HTTPStatus.SEE_OTHER)
        self.renew(request, response, user.name)
        return response

    def renew(self, request: Request, response: Response, user: str) -> None:
        """Replace the browser's session by a new one of a user."""
        self._end(request)
        token = self._ledger.sessions.begin(user, seconds=self._settings.session_seconds)
        response.set_cookie(
            SESSION_COOKIE,
            token,
            path="/",
            secure=self.is_secure(request),
            httponly=True,
            samesite="lax",  # strict would be lost on the way back from an identity provider
        )

    def sign_out(self, request: Request) -> Response:
        """End the browser's session.

        Raises:
            LedgerError: It could not be ended or recorded.
        """
        self._trail.record(request, Action.SIGN_OUT)
        self._end(request)
        response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
        response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="lax")
        return response

    def is_secure(self, request: Request) -> bool:
        """Return whether a browser may send its cookies over https only."""
        return self._settings.secure_cookies == "always" or request.url.scheme == "https"

    def _end(self, request: Request) -> None:
        token = request.cookies.get(SESSION_COOKIE)
        if token:
            self._ledger.sessions.end(token)


def identity_of(user: User) -> Identity:
    """Return the identity of a user who signs in with this request."""
    return Identity(
        name=user.name,
        role=user.role,
        permissions=permissions_of(user.role),
        signed_in_by=SignedInBy.SESSION,
    )
