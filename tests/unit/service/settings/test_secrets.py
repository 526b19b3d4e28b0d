"""Secrets come from files of their own, and not from a file that everybody can read."""

import os
from pathlib import Path

import pytest
from sqlalchemy import make_url

from service.settings import ConfigurationError, read_settings


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("LOBAR_")]:  # noqa: TID251
        monkeypatch.delenv(name)
    file = tmp_path / "lobar.toml"
    monkeypatch.setenv("LOBAR_CONFIG", str(file))
    return file


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("p@ss/w:rd\n")
    return file


def test_passwords_of_ledger_and_redis_come_from_files(configuration: Path, password: Path) -> None:
    configuration.write_text(
        f'[ledger]\nurl = "postgresql://lobar@db:5432/lobar?sslmode=require"\n'
        f'password_file = "{password}"\n'
        f'[redis]\nurl = "redis://queue:6379/0"\npassword_file = "{password}"\n'
    )
    settings = read_settings()
    ledger = make_url(settings.ledger_url)
    assert (ledger.username, ledger.password, ledger.host) == ("lobar", "p@ss/w:rd", "db")
    assert ledger.query == {"sslmode": "require"}
    assert settings.redis_url == "redis://:p%40ss%2Fw%3Ard@queue:6379/0"
    assert "p@ss" not in repr(settings)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_password_that_cannot_be_read_is_explained_when_it_is_needed(
    configuration: Path, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    configuration.write_text(f'[redis]\nurl = "redis://queue/0"\npassword_file = "{file}"\n')
    with pytest.raises(ConfigurationError, match=r"^redis\.password_file .*password (cannot|is)"):
        _ = read_settings().redis_url


@pytest.mark.parametrize(
    "section",
    [
        '[redis]\nurl = "redis://:word@queue/0"\npassword_file = "/p"',
        '[redis]\npassword_file = "/p"',
        '[ledger]\nurl = "sqlite:////var/lobar.sqlite3"\npassword_file = "/p"',
    ],
)
def test_a_password_file_that_has_no_place_is_a_mistake(configuration: Path, section: str) -> None:
    configuration.write_text(section)
    with pytest.raises(ConfigurationError, match="password_file") as raised:
        read_settings()
    assert ":word" not in str(raised.value)


def test_credentials_of_systemd_are_found_where_it_puts_them(
    configuration: Path, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration.write_text(
        '[redis]\nurl = "redis://queue/0"\npassword_file = "${CREDENTIALS_DIRECTORY}/password"\n'
    )
    with pytest.raises(ConfigurationError, match="LoadCredential="):
        read_settings()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(password.parent))
    assert read_settings().redis.password_file == password


SECRETS = {
    "redis.url": '[redis]\nurl = "redis://:hidden@queue/0"',
    "ledger.url": '[ledger]\nurl = "postgresql://lobar:hidden@db/lobar"',
    "destinations.bearer_token": (
        '[[destinations]]\nname = "cloud"\nurl = "https://pacs.example.org"\n'
        'bearer_token = "hidden"'
    ),
    "sign_in.openid_client_secret": '[sign_in]\nopenid_client_secret = "hidden"',
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_file_that_everybody_can_read_is_refused(
    configuration: Path, name: str
) -> None:
    configuration.write_text(SECRETS[name])
    configuration.chmod(0o644)
    with pytest.raises(ConfigurationError) as raised:
        read_settings()
    assert name in str(raised.value)
    assert f"`chmod o= {configuration}`" in str(raised.value)
    assert "hidden" not in str(raised.value)
    configuration.chmod(0o640)  # of root, for the group of the service
    assert read_settings()


def test_a_file_without_a_secret_may_be_read_by_all(configuration: Path) -> None:
    configuration.write_text('[redis]\nurl = "redis://queue/0"')
    configuration.chmod(0o644)
    assert read_settings().redis.url == "redis://queue/0"
