import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
from support.people import HASHES, PASSWORD, add, csrf_token, sign_in
from support.web_server import Web

from service.domain.audit import Action, AuditOutcome
from service.domain.user import Role
from service.storage.ledger import Ledger
from service.web.access import SESSION_COOKIE


def is_signed_in(browser: httpx.Client) -> bool:
    return browser.get("/account").status_code == 200


def test_a_session_that_was_given_to_a_browser_is_not_taken_over(web: Web) -> None:
    add(web)
    add(web, "mallory")
    sign_in(web.client, "mallory")
    planted = web.client.cookies[SESSION_COOKIE]

    sign_in(web.client, "anna")

    assert web.client.cookies[SESSION_COOKIE] != planted
    other = web.browser()
    other.cookies.set(SESSION_COOKIE, planted, domain="127.0.0.1")
    assert not is_signed_in(other)


@pytest.mark.parametrize(
    "token", ["forged", "", "x" * 8000, "' OR 1=1", "%00", "a.b.c"], ids=lambda token: token[:8]
)
def test_a_forged_session_is_none(web: Web, token: str) -> None:
    add(web)
    answer = web.client.get("/account", headers={"cookie": f"{SESSION_COOKIE}={token}"})
    assert answer.headers["location"].startswith("/sign-in")


def test_the_ledger_keeps_no_token_that_a_browser_could_send(web: Web) -> None:
    add(web)
    sign_in(web.client, "anna")
    token = web.client.cookies[SESSION_COOKIE]
    everything = b"".join(path.read_bytes() for path in web.spool.root.parent.glob("ledger*"))
    assert token.encode() not in everything
    assert PASSWORD.encode() not in everything


def test_a_session_ends_when_it_was_idle_or_is_old(tmp_path: Path) -> None:
    settings = {"session_idle_seconds": 100, "session_seconds": 1000}
    with Web(tmp_path / "state", sign_in=settings).running() as web:
        add(web)
        now = time.time()
        for age, idle, valid in ((500, 50, True), (150, 150, False), (1001, 1, False)):
            past = Ledger(web.settings.ledger_url, clock=partial(float, now - age))
            token = past.sessions.begin("anna", seconds=1000)
            past.close()
            used = Ledger(web.settings.ledger_url, clock=partial(float, now - idle))
            used.sessions.touch(token)
            used.close()
            browser = web.browser()
            browser.cookies.set(SESSION_COOKIE, token, domain="127.0.0.1")
            assert is_signed_in(browser) is valid, (age, idle)


def test_use_is_noted_at_most_once_a_minute(web: Web) -> None:
    add(web)
    past = Ledger(web.settings.ledger_url, clock=lambda: time.time() - 90)
    token = past.sessions.begin("anna", seconds=1000)
    past.close()
    web.client.cookies.set(SESSION_COOKIE, token, domain="127.0.0.1")
    before = time.time()
    notes = []
    for _ in range(2):
        assert is_signed_in(web.client)
        session = web.ledger.sessions.find(token, idle_seconds=1000)
        assert session is not None
        notes.append(session.used_at)
    assert notes[0] >= before
    assert notes[0] == notes[1]


def test_use_is_noted_before_a_short_session_is_idle(tmp_path: Path) -> None:
    with Web(tmp_path / "state", sign_in={"session_idle_seconds": 60}).running() as web:
        add(web)
        past = Ledger(web.settings.ledger_url, clock=lambda: time.time() - 30)
        token = past.sessions.begin("anna", seconds=1000)
        past.close()
        web.client.cookies.set(SESSION_COOKIE, token, domain="127.0.0.1")
        before = time.time()
        assert is_signed_in(web.client)
        session = web.ledger.sessions.find(token, idle_seconds=60)
        assert session is not None
        assert session.used_at >= before


@pytest.mark.parametrize(
    "change",
    [
        lambda web: web.ledger.users.set_password("anna", HASHES.hash("another password")),
        lambda web: web.ledger.users.set_role("anna", Role.OPERATOR),
        lambda web: web.ledger.users.disable("anna"),
        lambda web: web.ledger.sessions.end_all("anna"),
    ],
    ids=["password", "role", "disabled", "ended"],
)
def test_a_change_of_a_user_ends_all_sessions(web: Web, change: Callable[[Web], object]) -> None:
    add(web)
    browsers = [web.browser() for _ in range(2)]
    for browser in browsers:
        sign_in(browser, "anna")
        assert is_signed_in(browser)
    change(web)
    assert not any(map(is_signed_in, browsers))


def test_a_person_signs_out_and_the_cookie_is_worth_nothing(web: Web) -> None:
    add(web)
    sign_in(web.client, "anna")
    token = web.client.cookies[SESSION_COOKIE]

    answer = web.client.post("/sign-out", data={"csrf_token": csrf_token(web.client)})

    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert SESSION_COOKIE not in web.client.cookies
    web.client.cookies.set(SESSION_COOKIE, token, domain="127.0.0.1")
    assert not is_signed_in(web.client)
    assert [each.action for each in web.ledger.audit.recent()] == [Action.SIGN_OUT, Action.SIGN_IN]


@pytest.mark.parametrize("sent", [None, "", "forged", "\u00e9", "x" * 5000], ids=str)
def test_a_form_without_the_token_of_its_session_is_refused_and_recorded(
    web: Web, sent: str | None
) -> None:
    add(web)
    sign_in(web.client, "anna")
    form = {} if sent is None else {"csrf_token": sent}
    answer = web.client.post("/sign-out", data={"other": "field", **form})
    assert answer.status_code == 403
    assert is_signed_in(web.client)
    record = web.ledger.audit.recent()[0]
    assert (record.action, record.outcome, record.user) == (
        Action.DENIED,
        AuditOutcome.FAILURE,
        "anna",
    )
    assert record.detail["route"] == "/sign-out"


def test_the_token_of_another_session_of_the_same_person_is_refused(web: Web) -> None:
    add(web)
    other = web.browser()
    for browser in (web.client, other):
        sign_in(browser, "anna")
    answer = web.client.post("/sign-out", data={"csrf_token": csrf_token(other)})
    assert answer.status_code == 403


def test_the_token_may_be_in_the_address_of_an_upload_only(web: Web) -> None:
    add(web, role=Role.RADIOLOGIST)
    sign_in(web.client, "anna")
    token = csrf_token(web.client)
    assert web.client.post(f"/sign-out?csrf_token={token}").status_code == 403
    files = {"files": b"no image"}
    assert web.client.post(f"/upload?csrf_token={token}", files=files).status_code not in {401, 403}
    assert web.client.post("/upload?csrf_token=forged", files=files).status_code == 403
    assert web.client.post("/upload", files=files).status_code == 403
    with_header = web.client.post("/upload", files=files, headers={"x-csrf-token": token})
    assert with_header.status_code not in {401, 403}


def test_a_page_of_another_site_cannot_use_a_session(web: Web) -> None:
    add(web)
    sign_in(web.client, "anna")
    form = {"csrf_token": csrf_token(web.client)}
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://attacker.example"}):
        assert web.client.post("/sign-out", data=form, headers=headers).status_code == 403
    assert is_signed_in(web.client)


def test_part_of_a_page_that_needs_a_sign_in_replaces_the_whole_page(web: Web) -> None:
    add(web)
    answer = web.client.get("/", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in")
