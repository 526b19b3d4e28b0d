from collections.abc import Iterator
from pathlib import Path

import pytest
from support.people import add, sign_in
from support.web_server import Web

from service.domain.audit import Action
from service.domain.user import Role
from service.web.access import SESSION_COOKIE

HEADER = "X-Forwarded-User"
TRUSTING = {"proxy_header": HEADER, "proxy_addresses": ["127.0.0.1"]}
ROLES = {**TRUSTING, "proxy_role_header": "X-Forwarded-Role"}


@pytest.fixture
def behind_proxy(tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path / "state", sign_in=TRUSTING).running() as running:
        yield running


@pytest.fixture
def with_roles(tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path / "state", sign_in=ROLES).running() as running:
        yield running


def test_a_trusted_proxy_says_who_sends_a_request(behind_proxy: Web) -> None:
    add(behind_proxy, role=Role.ADMIN)
    page = behind_proxy.client.get("/account", headers={HEADER: "Anna"})
    assert page.status_code == 200
    assert "anna" in page.text
    assert behind_proxy.client.get("/users", headers={HEADER: "anna"}).status_code == 200


@pytest.mark.parametrize(
    "names",
    [
        ["nobody"],
        [""],
        ["anna", "anna"],
        ["anna", "mallory"],
        ["anna, mallory"],
        ["x" * 5000],
        ["<b>anna</b>"],
        ["\u00e9"],
    ],
    ids=str,
)
def test_a_name_that_is_no_users_or_not_the_only_one_is_not_signed_in(
    behind_proxy: Web, names: list[str]
) -> None:
    add(behind_proxy)
    headers = [(HEADER.encode(), name.encode("latin-1")) for name in names]
    answer = behind_proxy.client.get("/api/jobs", headers=headers)
    assert answer.status_code == 401


def test_behind_a_proxy_the_pages_are_never_open(behind_proxy: Web) -> None:
    assert behind_proxy.client.get("/api/jobs").status_code == 401
    assert "did not say who you are" in behind_proxy.client.get("/sign-in").text


def test_a_disabled_user_is_not_signed_in(behind_proxy: Web) -> None:
    add(behind_proxy)
    behind_proxy.ledger.users.disable("anna")
    assert behind_proxy.client.get("/api/jobs", headers={HEADER: "anna"}).status_code == 401


def test_the_header_of_any_other_address_has_no_effect(tmp_path: Path) -> None:
    elsewhere = {**ROLES, "proxy_addresses": ["192.0.2.0/24", "2001:db8::1"]}
    with Web(tmp_path / "state", sign_in=elsewhere).running() as web:
        add(web, role=Role.ADMIN)
        claims = {HEADER: "anna", "X-Forwarded-Role": "admin", "X-Forwarded-For": "192.0.2.1"}
        assert web.client.get("/api/jobs", headers=claims).status_code == 401
        sign_in(web.client, "anna")
        assert web.client.get("/users", headers={**claims, HEADER: "mallory"}).status_code == 200
        assert web.ledger.users.find("mallory") is None
        assert web.ledger.audit.recent()[0].address == "127.0.0.1"


def test_a_proxy_may_say_the_role_of_people_nobody_has_added(with_roles: Web) -> None:
    headers = {HEADER: "nora", "X-Forwarded-Role": "Viewer"}
    assert with_roles.client.get("/account", headers=headers).status_code == 200
    headers["X-Forwarded-Role"] = "admin"
    assert with_roles.client.get("/users", headers=headers).status_code == 200
    headers["X-Forwarded-Role"] = "viewer"
    assert with_roles.client.get("/users", headers=headers).status_code == 403
    user = with_roles.ledger.users.find("nora")
    assert user is not None
    assert (user.role, user.password_hash) == (Role.VIEWER, None)
    changes = [each for each in with_roles.ledger.audit.recent() if each.action is Action.USER]
    assert [each.detail for each in reversed(changes)] == [
        {"by": "proxy", "user": "nora", "change": "add", "new_role": "viewer"},
        {"by": "proxy", "user": "nora", "change": "role", "new_role": "admin"},
        {"by": "proxy", "user": "nora", "change": "role", "new_role": "viewer"},
    ]
    assert {each.user for each in changes} == {""}


@pytest.mark.parametrize("role", ["", "boss", "admin, viewer", "x" * 5000])
def test_a_role_that_is_none_is_not_signed_in(with_roles: Web, role: str) -> None:
    add(with_roles)
    headers = {HEADER: "anna", "X-Forwarded-Role": role}
    assert with_roles.client.get("/api/jobs", headers=headers).status_code == 401
    assert with_roles.client.get("/api/jobs", headers={HEADER: "anna"}).status_code == 401


def test_a_page_of_another_site_cannot_use_what_the_proxy_adds(behind_proxy: Web) -> None:
    add(behind_proxy, role=Role.ADMIN)
    form = {"name": "mallory", "role": "admin", "password": "a long enough password"}
    for foreign in ({"sec-fetch-site": "cross-site"}, {"origin": "https://attacker.example"}):
        headers = {HEADER: "anna", **foreign}
        assert behind_proxy.client.post("/users", data=form, headers=headers).status_code == 403
    assert behind_proxy.ledger.users.find("mallory") is None
    own = {HEADER: "anna", "sec-fetch-site": "same-origin"}
    assert behind_proxy.client.post("/users", data=form, headers=own).status_code == 303


def test_a_program_behind_a_proxy_uses_its_token(behind_proxy: Web) -> None:
    add(behind_proxy)
    others_token = {"authorization": "Bearer eyJ.of.the-proxy", HEADER: "anna"}
    assert behind_proxy.client.get("/api/jobs", headers=others_token).status_code == 200
    forged = {"authorization": "Bearer lobar_forged", HEADER: "anna"}
    assert behind_proxy.client.get("/api/jobs", headers=forged).status_code == 401


def test_a_proxy_forwards_the_clients_address_and_that_it_came_over_https(
    behind_proxy: Web,
) -> None:
    add(behind_proxy)
    behind_proxy.client.headers["X-Forwarded-For"] = "198.51.100.7, 203.0.113.9"
    behind_proxy.client.headers["X-Forwarded-Proto"] = "https"
    cookie = sign_in(behind_proxy.client, "anna").headers["set-cookie"]
    assert cookie.startswith(f"{SESSION_COOKIE}=")
    assert "; Secure" in cookie
    assert behind_proxy.ledger.audit.recent()[0].address == "203.0.113.9"
    behind_proxy.client.headers["X-Forwarded-For"] = "<script>" * 100
    sign_in(behind_proxy.client, "anna", "a wrong password")
    assert behind_proxy.ledger.audit.recent()[0].address == "127.0.0.1"
