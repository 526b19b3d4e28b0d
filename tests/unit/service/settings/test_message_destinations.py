"""Receivers of messages in the configuration, and what is wrong with one."""

from pathlib import Path
from typing import Any

import pytest

from service.domain.routing import Outcome, OutputKind
from service.settings import ConfigurationError, WebhookDestination, read_settings
from service.settings.secrets import exposed_secrets

WEBHOOK = {"name": "hook", "kind": "webhook", "url": "https://events.example.org/x"}
EMAIL = {
    "name": "duty",
    "kind": "email",
    "host": "mail.example.org",
    "port": 25,
    "sender": "lobar@example.org",
    "recipients": ["duty@example.org"],
}
KEY = "A" * 32


def fault(destination: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read_settings(destinations=[destination])
    assert "secret" not in str(raised.value)
    return str(raised.value)


def test_a_receiver_of_messages_gets_the_report_alone() -> None:
    settings = read_settings(destinations=[WEBHOOK])
    (destination,) = settings.destinations
    assert isinstance(destination, WebhookDestination)
    assert settings.routes.kinds(Outcome.PRESENT) == {OutputKind.SR}


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ({**WEBHOOK, "kind": "pager"}, "kind is one of dimse, dicomweb, webhook, hl7, fhir, email"),
        ({**WEBHOOK, "outputs": ["pdf"]}, "outputs"),
        ({**WEBHOOK, "event_source": "lobar"}, "absolute URI"),
        ({**WEBHOOK, "signing_key": "secret"}, "24 to 64 bytes"),
        ({**WEBHOOK, "signing_key": KEY, "signing_key_file": "x"}, "not both"),
        ({**WEBHOOK, "url": "http://a.example.org", "bearer_token": "x"}, "https://"),
        ({**WEBHOOK, "recipients": []}, "unknown setting"),
        ({"name": "ris", "kind": "hl7", "host": "ris"}, "port: Field required"),
        ({"name": "ris", "kind": "hl7", "host": "a", "port": 1, "tls_name": "b"}, "tls = true"),
        ({**EMAIL, "recipients": []}, "recipients"),
        ({**EMAIL, "sender": "lobar@example.org\r\nBcc: x@y"}, "sender"),
        ({**EMAIL, "user": "lobar"}, "needs a password"),
        ({**EMAIL, "password": "secret"}, "and each of them a user"),
        ({**EMAIL, "user": "lobar", "password": "secret"}, "set tls to true"),
        ({**EMAIL, "include_patient": True}, "needs tls"),
    ],
)
def test_what_cannot_be_used_is_explained(destination: dict[str, Any], why: str) -> None:
    assert why in fault(destination)


def test_a_secret_in_a_file_that_everybody_can_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "lobar.toml"
    file.write_text('[[destinations]]\nsigning_key = "x"\n\n[[destinations]]\npassword = "y"\n')
    file.chmod(0o644)
    assert exposed_secrets(file) == ["destinations.signing_key", "destinations.password"]
    file.chmod(0o640)
    assert exposed_secrets(file) == []
