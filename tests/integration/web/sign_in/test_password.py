import time
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from support.people import HASHES, PASSWORD, add, sign_in
from support.web_server import Web

from service.access.passwords import Passwords
from service.domain.audit import Action, AuditOutcome
from service.domain.user import Role
from service.web.access import SESSION_COOKIE
from service.web.sign_in.pages import NOT_SIGNED_IN


def test_a_person_signs_in_and_goes_on_to_the_page_that_was_asked_for(web: Web) -> None:
    add(web)
    asked = web.client.get("/find?q=1.2.3")
    assert (asked.status_code, asked.headers["location"]) == (
        303,
        "/sign-in?next=%2Ffind%3Fq%3D1.2.3",
    )
    page = web.client.get(asked.headers["location"])
    assert 'name="next" value="/find?q=1.2.3"' in page.text

    answer = sign_in(web.client, "anna", next_page="/find?q=1.2.3")

    assert (answer.status_code, answer.headers["location"]) == (303, "/find?q=1.2.3")
    found = web.client.get(answer.headers["location"], follow_redirects=True)
    assert (found.status_code, found.url.path) == (200, "/")
    assert web.client.get("/sign-in").headers["location"] == "/"


def test_the_cookie_is_for_this_service_and_no_script(web: Web) -> None:
    add(web)
    cookie = sign_in(web.client, "anna").headers["set-cookie"]
    assert cookie.startswith(f"{SESSION_COOKIE}=")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Secure" not in cookie, "over http a browser would drop it"
    assert "expires" not in cookie.lower(), "it ends with the browser"


def test_the_cookie_can_be_for_https_only(tmp_path: Path) -> None:
    with Web(tmp_path / "state", sign_in={"secure_cookies": "always"}).running() as web:
        add(web)
        assert "; Secure" in sign_in(web.client, "anna").headers["set-cookie"]


def test_names_are_not_told_apart_by_case_and_letters_by_how_they_are_composed(web: Web) -> None:
    web.ledger.users.add("anna", Role.VIEWER, HASHES.hash("Käse und Brötchen"))
    answer = sign_in(web.client, " ANNA ", "Ka\u0308se und Bro\u0308tchen")
    assert answer.status_code == 303


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("anna", "wrong password"),
        ("nobody", PASSWORD),
        ("disabled", PASSWORD),
        ("elsewhere", PASSWORD),
        ("a" * 10_000, PASSWORD),
        ("anna", "x" * 10_000),
        ("' OR 1=1 --", PASSWORD),
        ("<script>alert(1)</script>", PASSWORD),
    ],
    ids=lambda value: value[:20],
)
def test_who_may_not_sign_in_is_told_the_same_whatever_the_cause(
    web: Web, name: str, password: str
) -> None:
    add(web)
    add(web, "disabled")
    web.ledger.users.disable("disabled")
    web.ledger.users.add("elsewhere", Role.VIEWER, None)

    answer = sign_in(web.client, name, password)

    assert answer.status_code == 403
    assert NOT_SIGNED_IN in answer.text
    assert "set-cookie" not in answer.headers
    assert name not in answer.text or name in {"anna", "elsewhere", "disabled", "nobody"}
    record = web.ledger.audit.recent()[0]
    assert (record.action, record.outcome) == (Action.SIGN_IN, AuditOutcome.FAILURE)
    known = {"anna", "disabled", "elsewhere"}
    assert record.user == (name if name in known else ""), "only if the name is a user's"
    assert password not in str(record)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"name": "anna\0", "password": PASSWORD}, 422),
        ({"name": "anna", "password": "\0"}, 422),
        ({"name": "anna"}, 422),
        ({}, 415),
        ({"name": "anna", "password": "x" * 100_000}, 413),
    ],
)
def test_a_form_that_is_none_is_refused(web: Web, form: dict[str, str], status: int) -> None:
    add(web)
    answer = web.client.post("/sign-in", data=form)
    assert answer.status_code == status


def test_a_form_without_a_length_is_cut_off_at_its_limit(web: Web) -> None:
    answer = web.client.post(
        "/sign-in",
        content=(b"x" * 10_000 for _ in range(100)),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 413


def test_a_forms_limit_does_not_depend_on_how_its_type_is_written(web: Web) -> None:
    headers = {"content-type": "Application/X-WWW-Form-Urlencoded; charset=utf-8"}
    answer = web.client.post("/upload", content=b"x" * 100_000, headers=headers)
    assert answer.status_code == 413


def test_a_multipart_form_is_not_read(web: Web) -> None:
    answer = web.client.post("/sign-in", files={"name": b"x" * 1000})
    assert answer.status_code == 415


def test_another_sites_page_cannot_sign_a_person_in(web: Web) -> None:
    add(web)
    form = {"name": "anna", "password": PASSWORD}
    headers = {"sec-fetch-site": "cross-site"}
    answer = web.client.post("/sign-in", data=form, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "wanted",
    [
        "https://attacker.example/",
        "//attacker.example",
        "/\\attacker.example",
        "\\\\attacker.example",
        "/%0d%0aset-cookie:x=y\r\nset-cookie: x=y",
        "/\t/attacker.example",
        "javascript:alert(1)",
        "account",
        "/" + "a" * 10_000,
        "",
    ],
)
def test_a_sign_in_never_leads_to_another_site(web: Web, wanted: str) -> None:
    add(web)
    page = web.client.get("/sign-in", params={"next": wanted})
    assert 'name="next" value="/"' in page.text
    answer = sign_in(web.client, "anna", next_page=wanted)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "x" not in answer.cookies
    signed_in = web.client.get("/sign-in", params={"next": wanted})
    assert signed_in.headers["location"] == "/"


def test_after_wrong_passwords_a_user_is_locked_out_for_a_growing_time(tmp_path: Path) -> None:
    settings = {"maximum_failures": 2, "lock_seconds": 3600, "maximum_lock_seconds": 86400}
    with Web(tmp_path / "state", sign_in=settings).running() as web:
        add(web)
        before = time.time()
        messages = {sign_in(web.client, "anna", "wrong password").text for _ in range(2)}
        messages.add(sign_in(web.client, "anna").text)
        assert len(messages) == 1, "the right password is answered as a wrong one"
        user = web.ledger.users.find("anna")
        assert user is not None
        assert user.failures == 2
        assert user.locked_until is not None
        assert before + 3600 <= user.locked_until <= time.time() + 3600

        web.ledger.users.enable("anna")
        assert sign_in(web.client, "anna").status_code == 303


def test_a_lock_out_survives_a_restart(tmp_path: Path) -> None:
    settings = {"maximum_failures": 1, "lock_seconds": 3600}
    with Web(tmp_path / "state", sign_in=settings).running() as web:
        add(web)
        sign_in(web.client, "anna", "wrong password")
    with Web(tmp_path / "state", sign_in=settings).running() as web:
        assert sign_in(web.client, "anna").status_code == 403


def test_an_address_may_not_try_too_often(tmp_path: Path) -> None:
    with Web(tmp_path / "state", sign_in={"attempts_per_minute": 3}).running() as web:
        add(web)
        for _ in range(3):
            assert sign_in(web.client, "nobody").status_code == 403
        answer = sign_in(web.client, "anna")
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert "Too many attempts" in answer.text


def test_a_password_is_hashed_anew_when_the_parameters_change(web: Web) -> None:
    weak = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    web.ledger.users.add("anna", Role.VIEWER, weak.hash(PASSWORD))
    assert sign_in(web.client, "anna").status_code == 303
    user = web.ledger.users.find("anna")
    assert user is not None
    assert user.password_hash is not None
    assert not HASHES.is_outdated(user.password_hash)
    assert sign_in(web.browser(), "anna").status_code == 303


def test_without_a_user_the_page_says_how_to_make_one(web: Web) -> None:
    page = web.client.get("/sign-in").text
    assert "lobar user add" in page
    assert 'type="password"' not in page
    assert web.client.get("/").status_code == 200
    assert web.client.get("/users").status_code == 403
