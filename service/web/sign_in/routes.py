"""Everything of users and sign-in on the web: the authenticator, and the pages for people."""

from fastapi import FastAPI

from service.access.password_sign_in import PasswordSignIn
from service.access.passwords import Passwords
from service.access.throttle import Throttle
from service.settings import SignInSettings
from service.storage.ledger import Ledger
from service.web.access import Authenticator
from service.web.pages import account, users
from service.web.sign_in import openid, pages
from service.web.sign_in.openid import OpenIdSignIn
from service.web.sign_in.session_cookie import BrowserSessions
from service.web.trail import Trail


def add_sign_in(app: FastAPI, settings: SignInSettings, ledger: Ledger, trail: Trail) -> None:
    """Let an application recognise who sends a request, and people sign in to it."""
    throttle = Throttle(settings.attempts_per_minute)
    hashes = Passwords()
    passwords = PasswordSignIn(settings, ledger, hashes)
    sessions = BrowserSessions(settings, ledger, trail)
    app.state.authenticator = Authenticator(settings, ledger, throttle, trail)
    app.state.trail = trail
    app.include_router(pages.router(settings, ledger, passwords, throttle, sessions, trail))
    app.include_router(openid.router(OpenIdSignIn(settings, ledger, throttle, sessions, trail)))
    mine = account.Account(ledger, passwords, hashes, throttle, sessions, trail)
    app.include_router(account.router(mine))
    app.include_router(users.router(ledger, hashes, trail))
