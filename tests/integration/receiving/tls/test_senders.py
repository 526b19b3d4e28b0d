"""Tests of sender rules at the listener: which part keeps a caller out, and what is logged."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from peers.raw_scu import Rejected, Sender
from structlog.testing import capture_logs
from support.listener import CR_EXPLICIT, RunningListener
from support.system.certificates import Authority, Certificate
from support.system.ports import free_port

from service.telemetry.metrics import ASSOCIATION_REFUSALS

Listen = Callable[..., AbstractContextManager[RunningListener]]

NOT_RECOGNISED = (1, 1, 3)  # PS3.8 table 9-21: calling AE title not recognized


@pytest.fixture
def guarded(
    listen: Listen,
    authority: Authority,
    server_certificate: Certificate,
) -> Iterator[RunningListener]:
    """A listener with both ports, and a rule of each kind."""
    with listen(
        tls_certificate_file=server_certificate.certificate,
        tls_key_file=server_certificate.key,
        tls_ca_file=authority.certificate,
        tls_client_certificate="optional",
        tls_port=free_port(),
        allowed_calling_ae_titles=["ANYWHERE"],
        senders=[
            {"ae_title": "NEAR", "networks": ["127.0.0.0/8"]},
            {"ae_title": "FAR", "networks": ["10.0.0.0/8", "2001:db8::/32"]},
            {"ae_title": "CR1", "certificate": "CR1"},
        ],
    ) as listener:
        yield listener


def is_let_in(port: int, calling: str, **options: Any) -> bool:  # noqa: ANN401 -- as of Sender
    try:
        with Sender(port, CR_EXPLICIT, calling=calling, **options) as sender:
            sender.release()
    except Rejected as exc:
        if exc.why == NOT_RECOGNISED:
            return False
        raise
    return True


def reason_for(port: int, calling: str, **options: Any) -> str:  # noqa: ANN401 -- as above
    """Return the reason that is logged, once, for a caller that is kept out, and counted."""
    with capture_logs() as logs:
        assert not is_let_in(port, calling, **options)
    (event,) = [each for each in logs if each["event"] == "association_rejected"]
    assert calling not in str(event)
    return str(event["reason"])


def counted(reason: str) -> float:
    return ASSOCIATION_REFUSALS.labels(reason=reason)._value.get()


def test_a_rule_that_matches_lets_a_sender_in(
    guarded: RunningListener, authority: Authority, client_certificate: Certificate
) -> None:
    assert is_let_in(guarded.port, "NEAR")
    assert is_let_in(guarded.port, "ANYWHERE")
    assert is_let_in(guarded.tls_port, "NEAR", tls=authority.client_context())
    known = authority.client_context(client_certificate)
    assert is_let_in(guarded.tls_port, "CR1", tls=known)


def test_each_part_that_does_not_match_has_its_reason(
    guarded: RunningListener, authority: Authority
) -> None:
    assert reason_for(guarded.port, "STRANGER") == "calling-ae-title-not-recognised"
    assert reason_for(guarded.port, "FAR") == "sender-address-not-recognised"
    before = counted("sender-certificate-not-recognised")
    assert reason_for(guarded.port, "CR1") == "sender-certificate-not-recognised"
    without = authority.client_context()
    assert reason_for(guarded.tls_port, "CR1", tls=without) == "sender-certificate-not-recognised"
    another = authority.client_context(authority.issue("cr2"))
    assert reason_for(guarded.tls_port, "CR1", tls=another) == "sender-certificate-not-recognised"
    assert counted("sender-certificate-not-recognised") == before + 3
