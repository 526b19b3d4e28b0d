"""Tests of the rules for senders: a caller is let in if one rule matches all of its parts."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.dicom.secure_transport import PeerCertificate
from service.receiving.senders import Caller, Mismatch, SenderRules, sender_rules
from service.settings import DicomSender, DicomSettings

FINGERPRINT = "ab" * 32


def shown(*names: str, fingerprint: str = FINGERPRINT) -> PeerCertificate:
    return PeerCertificate(names=frozenset(names), fingerprint=fingerprint)


def caller(
    ae_title: str = "CR1", address: str = "10.0.0.5", certificate: PeerCertificate | None = None
) -> Caller:
    return Caller(ae_title=ae_title, address=address, certificate=certificate)


def rule(**parts: object) -> DicomSender:
    return DicomSender.model_validate({"ae_title": "CR1", **parts})


@pytest.mark.parametrize(
    ("parts", "of", "mismatch"),
    [
        ({}, caller(), None),
        ({}, caller("CR2"), Mismatch.AE_TITLE),
        ({}, caller("cr1"), Mismatch.AE_TITLE),
        ({"networks": "10.0.0.0/8"}, caller(), None),
        ({"networks": "10.0.0.5"}, caller(), None),
        ({"networks": "10.0.0.6"}, caller(), Mismatch.ADDRESS),
        ({"networks": "192.168.0.0/16,10.0.0.0/24"}, caller(), None),
        ({"networks": "10.0.0.0/8"}, caller(address="::ffff:10.0.0.5"), None),
        ({"networks": "10.0.0.0/8"}, caller(address="2001:db8::1"), Mismatch.ADDRESS),
        ({"networks": "2001:db8::/32"}, caller(address="2001:db8::1"), None),
        ({"networks": "10.0.0.0/8"}, caller(address="not an address"), Mismatch.ADDRESS),
        ({"certificate": "cr1.example"}, caller(), Mismatch.CERTIFICATE),
        ({"certificate": "CR1.Example"}, caller(certificate=shown("cr1.example")), None),
        (
            {"certificate": "cr1.example"},
            caller(certificate=shown("cr1.example.org", "cr1")),
            Mismatch.CERTIFICATE,
        ),
        ({"certificate": "AB:" * 31 + "ab"}, caller(certificate=shown()), None),
        ({"certificate": f"SHA256:{FINGERPRINT}"}, caller(certificate=shown()), None),
        (
            {"certificate": FINGERPRINT},
            caller(certificate=shown(fingerprint="cd" * 32)),
            Mismatch.CERTIFICATE,
        ),
    ],
)
def test_a_part_that_a_rule_names_must_match(
    parts: dict[str, object], of: Caller, mismatch: Mismatch | None
) -> None:
    assert SenderRules([rule(**parts)]).mismatch(of) == mismatch


def test_the_parts_of_different_rules_do_not_add_up() -> None:
    rules = SenderRules(
        [rule(networks="10.0.0.0/8", certificate="a"), rule(networks="192.168.0.0/16")]
    )
    assert rules.mismatch(caller(certificate=shown("b"))) == Mismatch.CERTIFICATE
    assert rules.mismatch(caller(address="192.168.1.1")) is None
    assert rules.mismatch(caller(certificate=shown("a"))) is None
    assert rules.mismatch(caller(address="172.16.0.1")) == Mismatch.ADDRESS


def test_a_listed_ae_title_is_a_rule_without_address_and_certificate() -> None:
    far = {"ae_title": "FAR", "networks": "192.0.2.0/24"}
    rules = sender_rules(DicomSettings(senders=(far,), allowed_calling_ae_titles="CR1"))
    assert rules is not None
    assert rules.mismatch(caller()) is None
    assert rules.mismatch(caller("FAR")) == Mismatch.ADDRESS
    assert sender_rules(DicomSettings(allowed_calling_ae_titles="CR1")) is None


AE_TITLES = st.sampled_from(["CR1", "CR2", "DX"])
ADDRESSES = st.ip_addresses().map(str)
CERTIFICATES = st.none() | st.sampled_from(["a", "b"]).map(shown)
CALLERS = st.builds(Caller, ae_title=AE_TITLES, address=ADDRESSES, certificate=CERTIFICATES)


@st.composite
def rules_around(draw: st.DrawFn) -> DicomSender:
    networks = draw(st.lists(st.tuples(ADDRESSES, st.integers(0, 32)), max_size=2))
    return DicomSender(
        ae_title=draw(AE_TITLES),
        networks=tuple(
            str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
            for address, prefix in networks
        ),
        certificate=draw(st.none() | st.sampled_from(["a", "b"])),
    )


@given(st.lists(rules_around(), max_size=4), CALLERS)
def test_a_caller_is_let_in_exactly_if_one_rule_alone_lets_it_in(
    rules: list[DicomSender], of: Caller
) -> None:
    alone = [SenderRules([each]).mismatch(of) for each in rules]
    mismatch = SenderRules(rules).mismatch(of)
    assert (mismatch is None) == (None in alone)
    if mismatch is not None and rules:
        assert mismatch in alone


@given(st.lists(rules_around(), max_size=4), rules_around(), CALLERS)
def test_a_further_rule_keeps_no_one_out(
    rules: list[DicomSender], further: DicomSender, of: Caller
) -> None:
    if SenderRules(rules).mismatch(of) is None:
        assert SenderRules([*rules, further]).mismatch(of) is None


@given(rules_around(), CALLERS)
def test_a_rule_without_its_address_or_certificate_lets_in_no_fewer(
    strict: DicomSender, of: Caller
) -> None:
    if SenderRules([strict]).mismatch(of) is None:
        for part in ({"networks": ()}, {"certificate": None}):
            assert SenderRules([strict.model_copy(update=part)]).mismatch(of) is None


TLS = {"tls_certificate_file": "/a.pem"}


@pytest.mark.parametrize(
    ("dicom", "said"),
    [
        ({"tls_port": 2762}, "tls_port needs a tls_certificate_file"),
        ({"tls_ca_file": "/ca.pem"}, "tls_ca_file needs a tls_certificate_file"),
        ({**TLS, "tls_client_certificate": "required"}, "required needs a tls_ca_file"),
        ({**TLS, "tls_port": 11112}, "tls_port must differ from port"),
        ({**TLS, "tls_host": "::1"}, "tls_host needs a tls_port"),
        ({"senders": [{"ae_title": "A", "certificate": "x"}]}, "does not ask"),
        ({**TLS, "senders": [{"ae_title": "A", "certificate": "x"}]}, "does not ask"),
        (
            {"senders": [{"ae_title": "A"}], "allow_any_calling_ae_title": True},
            "senders has no effect",
        ),
        ({"senders": [{"ae_title": "A", "networks": "10.0.0.1/8"}]}, "nor a network"),
        ({"senders": [{"ae_title": "A", "certificate": " "}]}, "names no certificate"),
        (
            {"commitment_peers": [{"ae_title": "A", "host": "h", "port": 1, "tls_name": "n"}]},
            "no effect without tls = true",
        ),
        (
            {
                "commitment_peers": [
                    {"ae_title": "A", "host": "h", "port": 1, "tls": True, "tls_verify_name": False}
                ]
            },
            "set tls_ca_file",
        ),
    ],
)
def test_settings_that_would_have_no_effect_are_refused(
    dicom: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        DicomSettings.model_validate(dicom)
