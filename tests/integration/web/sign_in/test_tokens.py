import re
import time
from pathlib import Path

import httpx
import pytest
from support.people import add, csrf_token, sign_in
from support.web_server import Web

from service.domain.audit import Action
from service.domain.user import Permission, Role
from service.storage.ledger import Ledger
from service.storage.ledger.access.api_tokens import MOST_OF_A_USER


def make(web: Web, *scopes: str, label: str = "the PACS", days: str = "30") -> httpx.Response:
    form = {"csrf_token": csrf_token(web.client), "label": label, "days": days}
    return web.client.post("/account/tokens", data={**form, "scope": list(scopes)})


def new_token(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    found = re.search(r"lobar_[\w-]{43}", answer.text)
    assert found is not None
    return found[0]


def status(web: Web, token: str, path: str = "/api/jobs") -> int:
    return web.program(token).get(path).status_code


def test_a_token_is_shown_once_and_used_by_a_program(web: Web) -> None:
    add(web)
    sign_in(web.client, "anna")
    token = new_token(make(web, "view", "patient"))

    assert token not in web.client.get("/account").text
    assert status(web, token) == 200
    (shown,) = web.ledger.api_tokens.of("anna")
    assert (shown.label, shown.scopes) == ("the PACS", {Permission.VIEW, Permission.PATIENT})
    assert shown.used_at is not None
    everything = b"".join(path.read_bytes() for path in web.spool.root.parent.glob("ledger*"))
    assert token.encode() not in everything
    record = web.ledger.audit.recent()[0]
    assert (record.action, record.user) == (Action.TOKEN, "anna")
    assert token not in str(record)


def test_a_revoked_token_is_refused_at_once_and_nobody_else_can_revoke_it(web: Web) -> None:
    add(web)
    add(web, "mallory")
    sign_in(web.client, "anna")
    token = new_token(make(web, "view"))
    (shown,) = web.ledger.api_tokens.of("anna")
    other = web.browser()
    sign_in(other, "mallory")

    address = f"/account/tokens/{shown.id}/revoke"
    assert other.post(address, data={"csrf_token": csrf_token(other)}).status_code == 404
    assert status(web, token) == 200
    assert web.client.post(address, data={"csrf_token": csrf_token(web.client)}).status_code == 303
    assert status(web, token) == 401
    assert web.client.post(address, data={"csrf_token": csrf_token(web.client)}).status_code == 404


def test_an_expired_token_and_one_of_a_disabled_user_are_refused(web: Web) -> None:
    add(web)
    past = Ledger(web.settings.ledger_url, clock=lambda: time.time() - 100)
    scopes = {Permission.VIEW}
    _, expired = past.api_tokens.add("anna", label="a", scopes=scopes, seconds=99)
    _, valid = past.api_tokens.add("anna", label="b", scopes=scopes, seconds=1000)
    past.close()
    assert (status(web, expired), status(web, valid)) == (401, 200)
    web.ledger.users.disable("anna")
    assert status(web, valid) == 401


def test_a_token_loses_what_its_user_loses(web: Web) -> None:
    add(web, role=Role.RADIOLOGIST)
    _, token = web.ledger.api_tokens.add("anna", label="a", scopes={Permission.UPLOAD})
    files = {"files": b"no image"}
    assert web.program(token).post("/api/instances", files=files).status_code not in {401, 403}
    web.ledger.users.set_role("anna", Role.VIEWER)
    assert web.program(token).post("/api/instances", files=files).status_code == 403


@pytest.mark.parametrize(
    "sent",
    [
        "Bearer lobar_" + "x" * 43,
        "Bearer lobar_",
        "bearer forged",
        "BEARER " + "x" * 8000,
        "Bearer ' OR 1=1 --",
        "Bearer lobar_\u00e9",
    ],
    ids=lambda sent: sent[:20],
)
def test_a_forged_token_is_answered_as_programs_need_it(web: Web, sent: str) -> None:
    add(web)
    for path in ("/api/jobs", "/", f"/jobs/{'0' * 32}"):
        answer = web.client.get(path, headers=[(b"authorization", sent.encode("latin-1"))])
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_bad_token_is_refused_although_the_pages_are_open_or_a_session_is_there(
    web: Web,
) -> None:
    forged = {"authorization": "Bearer lobar_forged"}
    assert web.client.get("/", headers=forged).status_code == 401
    add(web)
    sign_in(web.client, "anna")
    assert web.client.get("/", headers=forged).status_code == 401


def test_an_address_may_not_guess_tokens_too_often(tmp_path: Path) -> None:
    with Web(tmp_path / "state", sign_in={"attempts_per_minute": 2}).running() as web:
        add(web)
        _, token = web.ledger.api_tokens.add("anna", label="a", scopes={Permission.VIEW})
        for _ in range(5):
            assert status(web, token) == 200, "right ones are not counted"
        assert [status(web, f"lobar_{each}") for each in range(3)] == [401, 401, 429]
        refused = web.program(token).get("/api/jobs")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("scopes", "label", "days"),
    [
        ((), "a", "1"),
        (("administer",), "a", "1"),
        (("view", "nothing"), "a", "1"),
        (("view",), "", "1"),
        (("view",), " \t", "1"),
        (("view",), "x" * 10_000, "1"),
        (("view",), "a\0b", "1"),
        (("view",), "\u202egnp.exe", "1"),
        (("view",), "a", "0"),
        (("view",), "a", "-1"),
        (("view",), "a", "9" * 5000),
        (("view",), "a", "0000036500000"),
        (("view",), "a", "3651"),
        (("view",), "a", "\u0661"),
        (("view",), "a", "1e3"),
    ],
)
def test_a_token_that_cannot_be_made_is_refused_in_words(
    web: Web, scopes: tuple[str, ...], label: str, days: str
) -> None:
    add(web)
    sign_in(web.client, "anna")
    assert make(web, *scopes, label=label, days=days).status_code == 422
    assert web.ledger.api_tokens.of("anna") == []
    assert web.client.get("/account").status_code == 200


def test_a_user_cannot_make_tokens_without_end(web: Web) -> None:
    add(web)
    sign_in(web.client, "anna")
    for _ in range(MOST_OF_A_USER):
        web.ledger.api_tokens.add("anna", label="a", scopes={Permission.VIEW})
    assert "revoke those that are not needed" in make(web, "view").text
    assert len(web.ledger.api_tokens.of("anna")) == MOST_OF_A_USER


def test_a_label_is_shown_as_text(web: Web) -> None:
    add(web)
    sign_in(web.client, "anna")
    page = make(web, "view", label="<script>alert(1)</script>", days="").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
