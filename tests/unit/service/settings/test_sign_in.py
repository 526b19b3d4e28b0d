"""Tests of the section [sign_in]."""

import pytest

from service.domain.user import Role
from service.settings import ConfigurationError, SignInSettings, read_settings

OPENID = {
    "openid_issuer": "https://id.example.org/realms/main/",
    "openid_client_id": "lobar",
    "openid_roles": {"admins": "admin"},
}


def test_networks_and_addresses_are_written_as_lists() -> None:
    settings = SignInSettings.model_validate(
        {"proxy_addresses": "10.0.0.0/8, ::1", "proxy_header": "Remote-User"}
    )
    assert settings.proxy_addresses == ("10.0.0.0/8", "::1/128")
    assert settings.is_elsewhere


def test_the_environment_gives_roles_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOBAR_SIGN_IN__OPENID_ROLES", '{"b": "viewer", "a": "admin"}')
    roles = read_settings().sign_in.openid_roles
    assert list(roles.items()) == [("b", Role.VIEWER), ("a", Role.ADMIN)], "their order counts"


def test_an_issuer_keeps_its_slash() -> None:
    settings = SignInSettings.model_validate(OPENID)
    assert settings.openid_issuer == "https://id.example.org/realms/main/"
    assert settings.is_elsewhere
    assert not SignInSettings().is_elsewhere


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"openid_issuer": "http://id.example.org"}, "must be https://"),
        ({"openid_issuer": "https://user:secret@id.example.org"}, "without user"),
        ({"openid_client_id": None}, "needs an openid_client_id"),
        ({"openid_roles": {}}, "needs openid_roles"),
        ({"openid_roles": {"a": "boss"}}, "openid_roles"),
        ({"openid_scopes": "profile"}, "openid_scopes"),
        ({"openid_callback_url": "https://lobar.example.org/"}, "/sign-in/openid/callback"),
        ({"openid_client_secret": "a", "openid_client_secret_file": "b"}, "not both"),
        ({"proxy_header": "X-User"}, "needs proxy_addresses"),
        ({"proxy_role_header": "X-Role"}, "needs a proxy_header"),
        ({"proxy_addresses": ["all"]}, "neither an address nor a network"),
        ({"proxy_addresses": ["10.0.0.1/8"]}, "neither an address nor a network"),
        ({"proxy_header": "X User", "proxy_addresses": ["::1"]}, "proxy_header"),
        ({"secure_cookies": "never"}, "secure_cookies"),
        ({"session_seconds": 0}, "session_seconds"),
        ({"maximum_failures": 0}, "maximum_failures"),
        ({"pasword": "x"}, "unknown setting"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_explained(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_settings(sign_in=OPENID | changed)
    assert said in str(raised.value)
    assert "secret@" not in str(raised.value)


def test_a_provider_on_this_machine_needs_no_tls() -> None:
    settings = SignInSettings.model_validate(OPENID | {"openid_issuer": "http://127.0.0.1:9"})
    assert settings.openid_issuer == "http://127.0.0.1:9"


def test_the_secret_is_not_shown() -> None:
    settings = SignInSettings.model_validate(OPENID | {"openid_client_secret": "a secret"})
    assert "a secret" not in repr(settings)
