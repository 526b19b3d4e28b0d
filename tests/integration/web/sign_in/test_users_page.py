from collections.abc import Callable

import httpx
import pytest
from support.people import PASSWORD, PASSWORD_HASH, add, csrf_token, sign_in
from support.web_server import Web

from service.domain.audit import Action
from service.domain.user import Permission, Role

NEW_PASSWORD = "quite another password"


@pytest.fixture
def post(web: Web) -> Callable[..., httpx.Response]:
    """Sign in as the administrator `ada`, and send forms of the page of users."""
    add(web, "ada", Role.ADMIN)
    sign_in(web.client, "ada")
    token = csrf_token(web.client)

    def send(path: str, **fields: str) -> httpx.Response:
        return web.client.post(path, data={"csrf_token": token, **fields})

    return send


Post = Callable[..., httpx.Response]


def test_an_administrator_adds_a_user_who_then_signs_in(web: Web, post: Post) -> None:
    answer = post("/users", name="Rosa", role="radiologist", password=NEW_PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/users")
    assert sign_in(web.browser(), "rosa", NEW_PASSWORD).status_code == 303
    page = web.client.get("/users").text
    assert "rosa" in page
    assert NEW_PASSWORD not in page
    assert PASSWORD_HASH not in page
    record = next(each for each in web.ledger.audit.recent() if each.action is Action.USER)
    assert (record.user, record.detail) == (
        "ada",
        {"user": "rosa", "change": "add", "new_role": "radiologist"},
    )


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"name": "ada", "role": "viewer"}, 409, "There is a user ada already"),
        ({"name": "", "role": "viewer"}, 422, "1 to 64 letters"),
        ({"name": "a b", "role": "viewer"}, 422, "1 to 64 letters"),
        ({"name": "-a", "role": "viewer"}, 422, "1 to 64 letters"),
        ({"name": "../a", "role": "viewer"}, 422, "1 to 64 letters"),
        ({"name": "<b>a</b>", "role": "viewer"}, 422, "1 to 64 letters"),
        ({"name": "x" * 65, "role": "viewer"}, 422, "1 to 64 letters"),
        ({"name": "x" * 10_000, "role": "viewer"}, 422, "1 to 64 letters"),
        ({"name": "\u00e5sa", "role": "viewer"}, 422, "1 to 64 letters"),
        ({"name": "b\0", "role": "viewer"}, 422, "NUL"),
        ({"name": "b", "role": "boss"}, 422, "A role is one of: viewer"),
        ({"name": "b"}, 422, "A role is one of"),
        ({"name": "b", "role": "viewer", "password": "short"}, 422, "at least 12 characters"),
        ({"name": "b", "role": "viewer", "password": "x" * 10_000}, 422, "at most 1024 bytes"),
        ({"name": "b", "role": "viewer", "password": "\u20ac" * 400}, 422, "at most 1024 bytes"),
    ],
)
def test_a_user_that_cannot_be_added_is_refused_in_words(
    web: Web, post: Post, fields: dict[str, str], status: int, said: str
) -> None:
    answer = post("/users", **fields)
    assert answer.status_code == status
    assert said in answer.text
    assert [user.name for user in web.ledger.users.all()] == ["ada"]


def test_an_administrator_changes_what_others_may_do(web: Web, post: Post) -> None:
    add(web, "rosa")
    browser = web.browser()
    sign_in(browser, "rosa")
    _, token = web.ledger.api_tokens.add("rosa", label="a", scopes={Permission.VIEW})

    assert "End sessions" in web.client.get("/users").text
    assert post("/users/rosa/end-sessions", x="y").status_code == 303
    assert browser.get("/account").status_code == 303
    assert post("/users/rosa/revoke-tokens", x="y").status_code == 303
    assert web.program(token).get("/api/jobs").status_code == 401
    assert post("/users/rosa/role", role="operator").status_code == 303
    assert post("/users/rosa/password", password=NEW_PASSWORD).status_code == 303
    assert sign_in(browser, "rosa").status_code == 403
    assert sign_in(browser, "rosa", NEW_PASSWORD).status_code == 303
    assert "operator" in browser.get("/account").text
    assert post("/users/rosa/disable", x="y").status_code == 303
    assert browser.get("/account").status_code == 303
    assert sign_in(browser, "rosa", NEW_PASSWORD).status_code == 403
    assert post("/users/rosa/enable", x="y").status_code == 303
    assert sign_in(browser, "rosa", NEW_PASSWORD).status_code == 303
    changes = [
        each.detail["change"]
        for each in web.ledger.audit.recent()
        if each.action in {Action.USER, Action.TOKEN}
    ]
    assert changes == ["enable", "disable", "password", "role", "revoke-tokens", "end-sessions"]


@pytest.mark.parametrize("change", ["disable", "role"])
def test_the_last_administrator_stays_one(web: Web, post: Post, change: str) -> None:
    add(web, "former", Role.ADMIN)
    web.ledger.users.disable("former")
    answer = post(f"/users/ada/{change}", role="viewer")
    assert answer.status_code == 409
    assert "last enabled administrator" in answer.text
    assert web.client.get("/users").status_code == 200


@pytest.mark.parametrize("name", ["nobody", "x" * 5000, "%00", "..%2f..", "'--", "%ff"])
def test_a_user_that_is_not_there_is_not_found(post: Post, name: str) -> None:
    assert post(f"/users/{name}/disable", x="y").status_code == 404


def test_a_person_changes_the_own_password_and_other_sessions_end(web: Web) -> None:
    add(web)
    other = web.browser()
    for browser in (web.client, other):
        sign_in(browser, "anna")
    form = {"old": PASSWORD, "new": NEW_PASSWORD, "again": NEW_PASSWORD}

    answer = web.client.post(
        "/account/password", data={"csrf_token": csrf_token(web.client), **form}
    )

    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert web.client.get("/account").status_code == 200
    assert other.get("/account").status_code == 303
    assert sign_in(other, "anna", NEW_PASSWORD).status_code == 303


@pytest.mark.parametrize(
    ("old", "new", "again", "status", "said"),
    [
        ("wrong password", NEW_PASSWORD, NEW_PASSWORD, 403, "old password is not right"),
        (PASSWORD, NEW_PASSWORD, "another new password", 422, "differ"),
        (PASSWORD, "short", "short", 422, "at least 12 characters"),
        ("", "", "", 422, "at least 12 characters"),
    ],
)
def test_a_password_that_cannot_be_changed_stays(
    web: Web, old: str, new: str, again: str, status: int, said: str
) -> None:
    add(web)
    sign_in(web.client, "anna")
    form = {"csrf_token": csrf_token(web.client), "old": old, "new": new, "again": again}
    answer = web.client.post("/account/password", data=form)
    assert answer.status_code == status
    assert said in answer.text
    assert sign_in(web.browser(), "anna").status_code == 303


def test_wrong_old_passwords_lock_out_too(web: Web) -> None:
    add(web)
    sign_in(web.client, "anna")
    token = csrf_token(web.client)
    form = {"csrf_token": token, "old": "wrong password", "new": NEW_PASSWORD}
    for _ in range(web.settings.sign_in.maximum_failures):
        web.client.post("/account/password", data={**form, "again": NEW_PASSWORD})
    assert sign_in(web.browser(), "anna").status_code == 403
