"""Tests of the settings: their values, their sources, and the explanation of each fault."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.dicom.sop_classes import DEFAULT_SOP_CLASSES
from service.errors import EX_CONFIG
from service.settings import (
    SHIPPED_BUNDLE,
    ConfigurationError,
    Settings,
    WebDestination,
    child_environment,
    config_file,
    environment_without_settings,
    read_settings,
    unknown_variables,
)

Variables = Callable[..., None]
PACS = {"name": "pacs", "ae_title": "PACS", "host": "10.0.0.1", "port": 104}
WEB = {"name": "web", "url": "https://pacs.example.org/dicom-web"}


@pytest.fixture(autouse=True)
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Variables:
    """Set variables, in an environment without Lobar's variables and without a lobar.toml."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):  # noqa: TID251 -- the tests' own
        if name.upper().startswith("LOBAR_"):
            monkeypatch.delenv(name)

    def set_variables(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_variables


def faults() -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        read_settings()
    assert raised.value.exit_status == EX_CONFIG == 78
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("cores", "listeners"), [(1, 1), (2, 2), (3, 2), (5, 2), (6, 3), (8, 4), (64, 4)]
)
def test_as_many_processes_receive_as_suit_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, listeners: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert read_settings().dicom.listeners == listeners
    monkeypatch.setenv("LOBAR_DICOM__PROCESSES", "7")
    assert read_settings().dicom.listeners == 7


def test_nothing_need_be_configured() -> None:
    settings = read_settings()
    assert config_file() is None
    assert settings.destinations == ()
    assert settings.dicom.sop_classes == DEFAULT_SOP_CLASSES
    assert settings.bundle.path == SHIPPED_BUNDLE
    assert settings.dicom.host == settings.web.host == "127.0.0.1"


def test_the_variables_that_are_promised_to_other_programs_do_what_they_say(
    variables: Variables, tmp_path: Path
) -> None:
    variables(
        LOBAR_STATE_DIR=str(tmp_path / "here"),
        LOBAR_DICOM__AE_TITLE="CHEST",
        LOBAR_DICOM__HOST="0.0.0.0",  # noqa: S104 -- a value, nobody listens
        LOBAR_DICOM__PORT="104",
        LOBAR_DICOM__ALLOWED_CALLING_AE_TITLES="CR1,CR2",
        LOBAR_WEB__HOST="::1",
        LOBAR_WEB__PORT="8081",
        LOBAR_LEDGER__URL="postgresql://lobar@db/lobar",
        LOBAR_REDIS__URL="redis://redis:6379/1",
        LOBAR_BUNDLE__PATH="/bundle",
        LOBAR_BUNDLE__DEVICE="cuda:1",
        LOBAR_DESTINATIONS=json.dumps([PACS, {**PACS, "name": "south", "connect_seconds": 1}]),
    )
    settings = read_settings()
    assert unknown_variables() == []
    assert settings.state_dir == tmp_path / "here"
    assert (settings.dicom.ae_title, settings.dicom.port) == ("CHEST", 104)
    assert settings.dicom.host == "0.0.0.0"  # noqa: S104 -- as above
    assert settings.dicom.allowed_calling_ae_titles == ("CR1", "CR2")
    assert (settings.web.host, settings.web.port) == ("::1", 8081)
    assert settings.ledger.url == "postgresql://lobar@db/lobar"
    assert settings.redis.url == "redis://redis:6379/1"
    assert (settings.bundle.path, settings.bundle.device) == (Path("/bundle"), "cuda:1")
    assert [each.name for each in settings.destinations] == ["pacs", "south"]
    assert settings.destinations[1].connect_seconds == 1
    assert settings.destination("south") is settings.destinations[1]
    assert settings.destination("west") is None


def test_every_setting_can_be_given_by_a_variable_of_its_own(variables: Variables) -> None:
    for section, field in Settings.model_fields.items():
        leaves = getattr(field.annotation, "model_fields", None)
        for leaf in leaves or ():
            value = getattr(getattr(read_settings(), section), leaf)
            text = json.dumps(value) if isinstance(value, tuple) else str(value)
            if value is not None:
                variables(**{f"LOBAR_{section}__{leaf}".upper(): text})
    assert unknown_variables() == []
    assert read_settings() == Settings()


def test_the_environment_wins_over_the_file_name_by_name(variables: Variables) -> None:
    Path("lobar.toml").write_text(
        'state_dir = "from-file"\n[dicom]\nae_title = "FILE"\nport = 104\n'
        '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "h"\nport = 104\n'
    )
    settings = read_settings()
    assert config_file() == Path("lobar.toml")
    assert (settings.dicom.ae_title, settings.dicom.port) == ("FILE", 104)
    assert [each.name for each in settings.destinations] == ["pacs"]
    variables(LOBAR_DICOM__AE_TITLE="ENV", LOBAR_DESTINATIONS="[]")
    settings = read_settings()
    assert (settings.dicom.ae_title, settings.dicom.port) == ("ENV", 104)
    assert settings.state_dir == Path("from-file")
    assert settings.destinations == ()


def test_an_empty_variable_is_as_good_as_none(variables: Variables) -> None:
    variables(
        LOBAR_STATE_DIR="",
        LOBAR_REDIS__URL="",
        LOBAR_LEDGER__URL="",
        LOBAR_DESTINATIONS="",
        LOBAR_DICOM__PORT="",
        LOBAR_CONFIG="",
    )
    assert read_settings() == Settings()


@pytest.mark.parametrize("text", ["A,B 1", " A , B 1 ,", '["A", "B 1"]', ' ["A","B 1"]'])
def test_ae_titles_are_a_json_list_or_names_between_commas(variables: Variables, text: str) -> None:
    variables(LOBAR_DICOM__ALLOWED_CALLING_AE_TITLES=text)
    assert read_settings().dicom.allowed_calling_ae_titles == ("A", "B 1")


def test_sop_classes_are_named_by_uid_or_keyword(variables: Variables) -> None:
    variables(LOBAR_DICOM__SOP_CLASSES="ComputedRadiographyImageStorage,1.2.840.10008.5.1.4.1.1.7")
    assert read_settings().dicom.sop_classes == (
        "1.2.840.10008.5.1.4.1.1.1",
        "1.2.840.10008.5.1.4.1.1.7",
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LOBAR_DICOM__PORT", "abc", "dicom.port: "),
        ("LOBAR_DICOM__PORT", "0", "dicom.port: "),
        ("LOBAR_DICOM__PORT", "65536", "dicom.port: "),
        ("LOBAR_DICOM__AE_TITLE", "SEVENTEEN LETTERS", "dicom.ae_title: "),
        ("LOBAR_DICOM__AE_TITLE", "   ", "dicom.ae_title: an AE title must not be blank"),
        ("LOBAR_DICOM__AE_TITLE", "BACK\\SLASH", "dicom.ae_title: "),
        ("LOBAR_DICOM__ALLOWED_CALLING_AE_TITLES", '["A",', "is not valid JSON"),
        ("LOBAR_DICOM__ALLOWED_CALLING_AE_TITLES", "A,,\x7f", ".allowed_calling_ae_titles.1: "),
        ("LOBAR_DICOM__SOP_CLASSES", "CTImage", "dicom.sop_classes.0: 'CTImage' is not"),
        ("LOBAR_DICOM__SOP_CLASSES", "1.2.840.10008.1.1", "dicom.sop_classes.0: "),
        ("LOBAR_DICOM__SOP_CLASSES", "[]", "dicom.sop_classes: "),
        ("LOBAR_DICOM__HOST", "pacs..hospital", "dicom.host: is neither a host name nor"),
        ("LOBAR_DICOM__PROT", "104", "dicom.prot: unknown setting (misspelled?)"),
        ("LOBAR_DICOM", "{", "dicom"),
        ("LOBAR_INFER__BATCH_SIZE", "0", "infer.batch_size: "),
        ("LOBAR_DRAIN_SECONDS", "nan", "drain_seconds: "),
        ("LOBAR_DRAIN_SECONDS", "inf", "drain_seconds: "),
        ("LOBAR_SPOOL__KEEP_DAYS", "-1", "spool.keep_days: "),
        ("LOBAR_LOG__LEVEL", "loud", "log.level: "),
        ("LOBAR_BUNDLE__DEVICE", "gpu", "bundle.device: "),
        ("LOBAR_REDIS__URL", "localhost:6379", "redis.url: must be redis://"),
        ("LOBAR_REDIS__URL", "redis://localhost:port", "redis.url: must be redis://"),
        ("LOBAR_REDIS__URL", "redis://localhost/name", "redis.url: must be redis://"),
        ("LOBAR_REDIS__URL", "unix:///run/redis.sock", "redis.url: must be redis://"),
        ("LOBAR_LEDGER__URL", "mysql://u:secret@h/d", "ledger.url: must be sqlite:////"),
        ("LOBAR_LEDGER__URL", "postgresql://u:secret@h:port/d", "ledger.url: must be sqlite"),
        ("LOBAR_LEDGER__URL", "/var/lib/lobar", "ledger.url: must be sqlite:////"),
        ("LOBAR_LEDGER__URL", "sqlite://", "ledger.url: must be sqlite:////PATH/TO/FILE"),
        ("LOBAR_LEDGER__URL", "sqlite:///:memory:", "ledger.url: must be sqlite:////"),
        ("LOBAR_DESTINATIONS", "[{", "destinations: is not valid JSON: "),
        ("LOBAR_DESTINATIONS", "pacs", "destinations: is not valid JSON: "),
        ("LOBAR_DESTINATIONS", '{"name": "pacs"}', "destinations: "),
        ("LOBAR_DESTINATIONS", '[{"name": "pacs"}]', "destinations.0.ae_title: "),
        ("LOBAR_DESTINATIONS", json.dumps([{**PACS, "prot": 1}]), "destinations.0.prot: "),
        ("LOBAR_DESTINATIONS", json.dumps([{**PACS, "name": "a b"}]), "destinations.0.name: "),
        ("LOBAR_DESTINATIONS", json.dumps([{**PACS, "host": ".."}]), "destinations.0.host: "),
        ("LOBAR_DESTINATIONS", json.dumps([PACS, PACS]), "destinations: two have the name 'pacs'"),
        ("LOBAR_DESTINATIONS", '["pacs"]', "destinations.0: "),
        ("LOBAR_DESTINATIONS", json.dumps([{**PACS, **WEB}]), "destinations.0.ae_title: unknown"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_in_one_line(
    variables: Variables, name: str, value: str, said: str
) -> None:
    variables(**{name: value})
    lines = faults()
    assert any(said in line for line in lines), lines
    assert not any("Value error" in line or "secret" in line for line in lines), lines


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "pacs.example.org"}, "url: must be https://HOST:PORT/PATH"),
        ({"url": "https://pa;cs.example.org"}, "url: must be https://HOST:PORT/PATH"),
        ({"url": "https://pacs.example.org/\u00fc"}, "url: must be https://HOST:PORT/PATH"),
        ({"url": "ftp://pacs.example.org"}, "url: must be https://HOST:PORT/PATH"),
        ({"url": "https://user:secret@pacs.example.org"}, "without user"),
        ({"url": "https://pacs.example.org/?token=secret"}, "without user, query"),
        ({"url": "https://pacs.example.org:web"}, "url: must be https://HOST:PORT/PATH"),
        ({"bearer_token": "secret\r\nX: y"}, "bearer_token: is not a bearer token"),
        ({"bearer_token": "sécret"}, "bearer_token: is not a bearer token"),
        ({"bearer_token": "secret", "bearer_token_file": "t"}, "bearer_token_file, not both"),
        ({"client_key_file": "k"}, "client_key_file needs a client_certificate_file"),
        ({"url": "http://h", "ca_file": "c"}, "need a url that is https://"),
        ({"url": "http://h", "client_certificate_file": "c"}, "need a url that is https://"),
        ({"url": "http://h", "bearer_token": "secret"}, "can be read in transit: use https://"),
        ({"url": "http://10.0.0.1", "bearer_token_file": "t"}, "can be read in transit"),
        ({"url": "http://127.0.0.1.example.org", "bearer_token": "secret"}, "can be read"),
    ],
)
def test_a_web_destination_that_cannot_be_used_is_explained_without_its_token(
    variables: Variables, changes: dict[str, str], said: str
) -> None:
    variables(LOBAR_DESTINATIONS=json.dumps([{**WEB, **changes}]))
    (line,) = faults()
    assert line.startswith("destinations.0")
    assert said in line
    assert "secret" not in line
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert "secret" not in str(raised.value), "not even where nobody explains it"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8042/dicom-web", "http://localhost", "http://[::1]:80/", "https://h"]
)
def test_a_bearer_token_is_allowed_where_it_cannot_be_read_in_transit(
    variables: Variables, url: str
) -> None:
    variables(LOBAR_DESTINATIONS=json.dumps([{**WEB, "url": url, "bearer_token": "hidden-one"}]))
    (destination,) = read_settings().destinations
    assert isinstance(destination, WebDestination)
    assert destination.url == url.rstrip("/")
    assert "hidden-one" not in repr(read_settings())


def test_every_fault_gets_a_line(variables: Variables) -> None:
    variables(LOBAR_DICOM__PORT="x", LOBAR_WEB__PORT="y")
    assert [line.split(":")[0] for line in faults()] == ["dicom.port", "web.port"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[dicom]\nprot = 104\n", "dicom.prot: unknown setting (misspelled?)"),
        (b"[dicmo]\nport = 104\n", "dicmo: unknown setting (misspelled?)"),
        (b"[dicom\nport = 104\n", "lobar.toml is not valid TOML: "),
        (b"state_dir = 'R\xf6ntgen'\n", "lobar.toml is not valid TOML: "),
        (b"[dicom]\nport = '104a'\n", "dicom.port: "),
        (b"destinations = 'pacs'\n", "destinations: "),
    ],
)
def test_a_file_that_cannot_be_used_is_explained_in_one_line(content: bytes, said: str) -> None:
    Path("lobar.toml").write_bytes(content)
    (line,) = faults()
    assert line.startswith(said)


def test_a_configuration_that_is_named_must_be_there(variables: Variables, tmp_path: Path) -> None:
    variables(LOBAR_CONFIG=str(tmp_path / "absent.toml"))
    assert faults() == [f"LOBAR_CONFIG names {tmp_path}/absent.toml, which is not a file."]
    variables(LOBAR_CONFIG=str(tmp_path))
    assert faults() == [f"LOBAR_CONFIG names {tmp_path}, which is not a file."]


def test_a_configuration_may_lie_anywhere(variables: Variables, tmp_path: Path) -> None:
    file = tmp_path / "etc" / "chest.toml"
    file.parent.mkdir()
    file.write_text("[dicom]\nport = 105\n")
    variables(LOBAR_CONFIG=str(file))
    assert read_settings().dicom.port == 105


def test_an_unknown_variable_of_lobar_is_listed_and_another_programs_is_not(
    variables: Variables,
) -> None:
    variables(LOBAR_DICMO__PORT="1", LOBAR_PORT="2", LOBARD_PORT="3", LOBAR_WEB__PORT="4")
    assert unknown_variables() == ["LOBAR_DICMO__PORT", "LOBAR_PORT"]
    assert read_settings().web.port == 4


def test_the_ledger_is_a_file_in_the_state_directory_unless_a_url_says_otherwise(
    variables: Variables, tmp_path: Path
) -> None:
    assert read_settings().ledger_url == f"sqlite:///{tmp_path}/state/ledger.sqlite3"
    for url in ("postgresql://u:p@h/postgresql://", "postgresql+psycopg://u:p@h/postgresql://"):
        variables(LOBAR_LEDGER__URL=url)
        assert read_settings().ledger_url == "postgresql+psycopg://u:p@h/postgresql://"


def test_what_was_read_cannot_be_changed() -> None:
    settings = read_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.dicom.port = 1  # type: ignore[misc]  # frozen, which is what is tested
    with pytest.raises(ValueError, match="frozen"):
        settings.state_dir = Path()  # type: ignore[misc]  # the same


def test_a_child_gets_this_environment_and_what_is_set_for_it(variables: Variables) -> None:
    variables(LOBAR_WEB__PORT="4", OTHER="kept")
    child = child_environment(LOBAR_STATE_DIR="/there")
    assert (child["LOBAR_WEB__PORT"], child["LOBAR_STATE_DIR"]) == ("4", "/there")
    assert child["OTHER"] == "kept"


def test_the_demo_gets_no_setting_but_the_bundles(variables: Variables) -> None:
    variables(LOBAR_WEB__PORT="4", lobar_log__level="debug", LOBAR_BUNDLE__DEVICE="cpu", OTHER="x")
    left = environment_without_settings()
    assert {name for name in left if name.upper().startswith("LOBAR_")} == {"LOBAR_BUNDLE__DEVICE"}
    assert left["OTHER"] == "x"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CLIENT_KEY_FILE", "key.pem", "client_key_file needs a client_certificate_file"),
        ("SYSLOG_TRANSPORT", "carrier-pigeon", "tls"),
        ("SYSLOG_PORT", "0", "audit.syslog_port"),
        ("SYSLOG_SECONDS", "0", "audit.syslog_seconds"),
        ("SYSLOG_SECONDS", "inf", "audit.syslog_seconds"),
        ("SOURCE_ID", "two words", "audit.source_id"),
        ("SYSLOG_HOST", "a..b", "audit.syslog_host"),
    ],
)
def test_an_export_of_the_audit_trail_that_cannot_work_is_explained(
    variables: Variables, variable: str, value: str, said: str
) -> None:
    variables(**{f"LOBAR_AUDIT__{variable}": value})
    (line,) = faults()
    assert said in line


def test_certificates_without_tls_are_a_mistake(variables: Variables) -> None:
    variables(LOBAR_AUDIT__SYSLOG_TRANSPORT="udp", LOBAR_AUDIT__CA_FILE="ca.pem")
    (line,) = faults()
    assert "syslog_transport tls" in line


def test_a_promoted_bundle_is_the_one_that_reports_and_the_other_its_shadow(
    variables: Variables,
) -> None:
    variables(
        LOBAR_BUNDLE__PATH="/opt/own",
        LOBAR_BUNDLE__OPERATING_POINT="balanced",
        LOBAR_BUNDLE__ENGINE="torch",
        LOBAR_SHADOW__PATH="/opt/candidate",
        LOBAR_SHADOW__DEVICE="cpu",
        LOBAR_SHADOW__SHARE="0.5",
    )
    before = read_settings()
    assert (before.bundle.path, before.shadow.path) == (Path("/opt/own"), Path("/opt/candidate"))
    variables(LOBAR_SHADOW__PROMOTED="true")
    after = read_settings()
    assert (after.bundle.path, after.bundle.device) == (Path("/opt/candidate"), "cpu")
    assert (after.bundle.operating_point, after.bundle.engine) == (None, "torch")
    assert (after.shadow.path, after.shadow.operating_point) == (Path("/opt/own"), "balanced")
    assert after.shadow.share == 0.5
    variables(LOBAR_SHADOW__PROMOTED="false")
    assert read_settings() == before


def test_nothing_can_be_promoted_without_a_second_bundle(variables: Variables) -> None:
    variables(LOBAR_SHADOW__PROMOTED="true")
    assert faults() == ["shadow: promoted needs a path: the bundle that is to report"]


@pytest.mark.parametrize("share", ["0", "1.5", "much"])
def test_a_share_is_above_nothing_and_at_most_all(variables: Variables, share: str) -> None:
    variables(LOBAR_SHADOW__SHARE=share)
    (fault,) = faults()
    assert fault.startswith("shadow.share: ")
