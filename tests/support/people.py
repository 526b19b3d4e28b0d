"""A person at a browser who signs in with a password."""

import re

import httpx

from service.access.passwords import Passwords
from service.domain.user import Role
from support.web_server import Web

PASSWORD = "correct horse battery staple"
HASHES = Passwords()
PASSWORD_HASH = HASHES.hash(PASSWORD)


def add(web: Web, name: str = "anna", role: Role = Role.VIEWER) -> str:
    """Add a user with `PASSWORD`."""
    web.ledger.users.add(name, role, PASSWORD_HASH)
    return name


def sign_in(
    browser: httpx.Client, name: str, password: str = PASSWORD, next_page: str = "/"
) -> httpx.Response:
    """Send the form of the page to sign in."""
    form = {"name": name, "password": password, "next": next_page}
    return browser.post("/sign-in", data=form)


def csrf_token(browser: httpx.Client, path: str = "/account") -> str:
    """Return the token that the forms of a page have."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(path).text)
    assert found is not None
    return found[1]
