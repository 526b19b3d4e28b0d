"""Sign-in at a real OpenID provider, which `deploy/setup/openid.sh` fetches."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from peers.openid import OpenIdProvider, StartProvider
from peers.web_service import Response, WebService
from support.people import add, sign_in
from support.system.ports import free_port
from support.web_server import Web

from service.access.openid import OpenIdProvider as Client
from service.access.openid import ProviderError
from service.domain.audit import Action, AuditOutcome
from service.domain.user import Role
from service.settings import SignInSettings
from service.web.sign_in.openid import COOKIE, NO_ROLE

pytestmark = pytest.mark.openid


@contextmanager
def lobar(
    folder: Path, start: StartProvider, *, in_id_token: bool = True, **settings: object
) -> Iterator[tuple[Web, OpenIdProvider]]:
    """Run a provider and a Lobar that sends people there."""
    port = free_port()
    callback = f"http://127.0.0.1:{port}/sign-in/openid/callback"
    provider = start(callback, in_id_token=in_id_token)
    web = Web(folder / "state", web={"port": port}, sign_in=provider.settings(**settings))
    web.port = port
    web.client.base_url = f"http://127.0.0.1:{port}"
    with web.running():
        yield web, provider


def go_and_return(
    web: Web, provider: OpenIdProvider, person: str, browser: httpx.Client | None = None
) -> httpx.Response:
    """Go to the provider as a browser does, sign in there, and come back."""
    browser = browser or web.client
    begun = browser.get("/sign-in/openid", params={"next": "/account"})
    assert begun.status_code == 303, begun.text
    return browser.get(provider.sign_in(begun.headers["location"], person))


@pytest.mark.parametrize("in_id_token", [True, False], ids=["id-token", "user-information"])
@pytest.mark.parametrize("client", ["lobar", "lobar-public"])
def test_a_person_signs_in_at_the_provider_with_the_role_of_the_group(
    tmp_path: Path, openid_provider: StartProvider, client: str, *, in_id_token: bool
) -> None:
    secret = {} if client == "lobar" else {"openid_client_secret": None}
    settings = {"openid_client_id": client, **secret}
    with lobar(tmp_path, openid_provider, in_id_token=in_id_token, **settings) as (web, provider):
        assert "Sign in with the identity provider" in web.client.get("/sign-in").text
        answer = go_and_return(web, provider, "1001")

        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        assert COOKIE not in web.client.cookies
        page = web.client.get("/account").text
        assert "rosa" in page
        assert "radiologist" in page
        assert "Old password" not in page
        record = web.ledger.audit.recent()[0]
        assert (record.action, record.user, record.detail) == (
            Action.SIGN_IN,
            "rosa",
            {"by": "openid"},
        )
        added = web.ledger.audit.recent()[1]
        assert (added.action, added.user, added.detail) == (
            Action.USER,
            "",
            {"by": "openid", "user": "rosa", "change": "add", "new_role": "radiologist"},
        )


def test_a_person_without_a_role_is_refused_in_words(
    tmp_path: Path, openid_provider: StartProvider
) -> None:
    with lobar(tmp_path, openid_provider) as (web, provider):
        answer = go_and_return(web, provider, "1003")
        assert answer.status_code == 403
        assert NO_ROLE in answer.text
        assert web.ledger.users.all() == []
        record = web.ledger.audit.recent()[0]
        assert (record.outcome, record.user, record.detail["why"]) == (
            AuditOutcome.FAILURE,
            "",
            "no-role",
        )


def test_a_name_that_cannot_be_used_and_a_disabled_user_are_refused(
    tmp_path: Path, openid_provider: StartProvider
) -> None:
    with lobar(tmp_path, openid_provider) as (web, provider):
        answer = go_and_return(web, provider, "1004")
        assert answer.status_code == 403
        assert "1 to 64 letters" in answer.text
        go_and_return(web, provider, "1002", web.browser())
        web.ledger.users.disable("otto")
        assert go_and_return(web, provider, "1002").status_code == 403


def test_a_name_alone_takes_over_no_user_who_signs_in_another_way(
    tmp_path: Path, openid_provider: StartProvider
) -> None:
    with lobar(tmp_path, openid_provider) as (web, provider):
        add(web, "rosa", Role.ADMIN)
        answer = go_and_return(web, provider, "1001")
        assert answer.status_code == 403
        assert "another user rosa" in answer.text
        user = web.ledger.users.find("rosa")
        assert user is not None
        assert (user.role, user.subject_sha256) == (Role.ADMIN, None)
        assert sign_in(web.client, "rosa").status_code == 303, "with the password, as before"


def test_a_user_whom_an_administrator_made_for_it_is_bound_to_the_person(
    tmp_path: Path, openid_provider: StartProvider
) -> None:
    with lobar(tmp_path, openid_provider) as (web, provider):
        web.ledger.users.add("rosa", Role.VIEWER, None)
        assert go_and_return(web, provider, "1001").status_code == 303
        user = web.ledger.users.find("rosa")
        assert user is not None
        assert user.role is Role.RADIOLOGIST
        assert user.subject_sha256 is not None
        with pytest.raises(Exception, match="signs in another way"):
            web.ledger.users.bind("rosa", "0" * 64)


def test_an_answer_to_another_browser_or_without_its_secrets_is_refused(
    tmp_path: Path, openid_provider: StartProvider
) -> None:
    with lobar(tmp_path, openid_provider) as (web, provider):
        begun = web.client.get("/sign-in/openid")
        back = provider.sign_in(begun.headers["location"], "1001")
        assert web.browser().get(back).status_code == 400, "another browser has no cookie"
        query = {key: value[0] for key, value in parse_qs(urlsplit(back).query).items()}
        path = urlsplit(back).path
        for change in ({"state": "forged"}, {"state": ""}, {"state": "\u00e9"}):
            assert web.client.get(path, params={**query, **change}).status_code == 400
        for change in ({"iss": "https://attacker.example"}, {"code": "forged"}, {"code": ""}):
            assert web.client.get(path, params={**query, **change}).status_code == 403
        refused = web.client.get(path, params={**query, "error": "<script>access_denied"})
        assert refused.status_code == 403
        assert "<script>" not in refused.text
        assert web.ledger.users.all() == []
        for cookie in ("", "x", "e30=", "W10=", "\u00e9", base64.b64encode(b"\xff").decode()):
            headers = [(b"cookie", f"{COOKIE}={cookie}".encode("latin-1"))]
            assert web.browser().get(back, headers=headers).status_code == 400


def test_nonce_and_code_verifier_are_those_of_the_browser(
    tmp_path: Path, openid_provider: StartProvider
) -> None:
    with lobar(tmp_path, openid_provider) as (web, provider):
        for field in ("nonce", "code_verifier"):
            begun = web.client.get("/sign-in/openid")
            kept = json.loads(base64.urlsafe_b64decode(web.client.cookies[COOKIE].strip('"')))
            kept[field] = "x" * 64
            cookie = base64.urlsafe_b64encode(json.dumps(kept).encode()).decode()
            back = provider.sign_in(begun.headers["location"], "1001")
            answer = web.browser().get(back, headers={"cookie": f"{COOKIE}={cookie}"})
            assert answer.status_code == 403, field
        assert web.ledger.users.all() == []


def test_the_cookie_leads_to_no_other_site(tmp_path: Path, openid_provider: StartProvider) -> None:
    with lobar(tmp_path, openid_provider) as (web, provider):
        query = urlencode({"next": "//attacker.example"})
        begun = web.client.get(f"/sign-in/openid?{query}")
        answer = web.client.get(provider.sign_in(begun.headers["location"], "1001"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_provider_that_is_down_is_said_and_passwords_still_work(tmp_path: Path) -> None:
    issuer = f"http://127.0.0.1:{free_port()}"
    settings = {
        "openid_issuer": issuer,
        "openid_client_id": "lobar",
        "openid_roles": {"a": "viewer"},
    }
    with Web(tmp_path / "state", sign_in=settings).running() as web:
        add(web)
        answer = web.client.get("/sign-in/openid")
        assert answer.status_code == 503
        assert "<code>lobar check</code> says why" in answer.text
        assert sign_in(web.client, "anna").status_code == 303


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"[]",
        b"no JSON",
        b'{"issuer": "https://another.example"}',
        b"\xff" * 10,
        b"{" + b" " * (2 << 20) + b"}",
    ],
    ids=lambda answer: answer[:20].decode("latin-1").strip(),
)
def test_a_provider_that_answers_nonsense_is_not_used(tmp_path: Path, answer: bytes) -> None:
    service = WebService(lambda _: Response(200, answer))
    with service.running():
        settings = {
            "openid_issuer": service.url,
            "openid_client_id": "lobar",
            "openid_roles": {"a": "viewer"},
        }
        with Web(tmp_path / "state", sign_in=settings).running() as web:
            assert web.client.get("/sign-in/openid").status_code == 503


NEVER_REACHED = {
    "openid_issuer": "http://127.0.0.1:9",
    "openid_client_id": "lobar",
    "openid_roles": {"a": "viewer"},
}


@pytest.mark.parametrize(
    "forged",
    [
        "[" * 9000,
        r'{"state":"\ud800","nonce":"n","code_verifier":"v","next":"/"}',
        r'{"state":"s","nonce":"\ud800","code_verifier":"\ud800","next":"/"}',
    ],
    ids=["nested", "state", "others"],
)
def test_a_forged_cookie_is_answered_as_any_bad_one(tmp_path: Path, forged: str) -> None:
    with Web(tmp_path / "state", sign_in=NEVER_REACHED).running() as web:
        cookie = base64.urlsafe_b64encode(forged.encode()).decode()
        headers = {"cookie": f"{COOKIE}={cookie}"}
        answer = web.client.get("/sign-in/openid/callback?state=s&code=c", headers=headers)
        assert answer.status_code == 400
        assert "sign in again" in answer.text


def test_an_address_may_not_go_to_the_provider_too_often(tmp_path: Path) -> None:
    settings = {**NEVER_REACHED, "attempts_per_minute": 2}
    with Web(tmp_path / "state", sign_in=settings).running() as web:
        answers = [web.client.get("/sign-in/openid") for _ in range(3)]
        assert [each.status_code for each in answers] == [503, 503, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_provider_that_cannot_be_used_is_asked_again_after_a_few_seconds() -> None:
    service = WebService(lambda _: Response(500))
    now = [0.0]
    with service.running():
        settings = SignInSettings(**{**NEVER_REACHED, "openid_issuer": service.url})
        client = Client(settings, lambda: now[0])
        for now[0], readings in ((0.0, 1), (4.9, 1), (5.1, 2), (5.2, 2)):
            with pytest.raises(ProviderError, match="answered with 500"):
                client.begin("http://127.0.0.1/callback")
            assert len(service.requests) == readings


def test_without_a_provider_its_addresses_are_not_there(web: Web) -> None:
    for path in ("/sign-in/openid", "/sign-in/openid/callback"):
        assert web.client.get(path).status_code == 404
