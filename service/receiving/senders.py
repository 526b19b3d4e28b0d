"""Decide which senders may associate: by AE title, address and certificate."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.dicom.secure_transport import PeerCertificate
from service.settings import DicomSender, DicomSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Mismatch(StrEnum):
    """The part of a caller that no rule matches."""

    AE_TITLE = "ae-title"
    ADDRESS = "address"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who requests an association."""

    ae_title: str
    address: str
    certificate: PeerCertificate | None


class SenderRules:
    """The rules of which one must match a caller in all of its parts."""

    def __init__(self, rules: Iterable[DicomSender]) -> None:
        self._rules: Final = tuple(map(_Rule, rules))

    def mismatch(self, caller: Caller) -> Mismatch | None:
        """Return which part of a caller keeps it out; None if a rule matches it.

        It is the last part of the rule that comes furthest, in the order of `Mismatch`.
        """
        named = [rule for rule in self._rules if rule.ae_title == caller.ae_title]
        if not named:
            return Mismatch.AE_TITLE
        address = _address(caller.address)
        near = [rule for rule in named if rule.covers(address)]
        if not near:
            return Mismatch.ADDRESS
        if not any(rule.recognises(caller.certificate) for rule in near):
            return Mismatch.CERTIFICATE
        return None


def sender_rules(dicom: DicomSettings) -> SenderRules | None:
    """Build the rules of the settings; None where AE titles alone are listed, or nothing is.

    A listed AE title is a rule without address and certificate.
    """
    if not dicom.senders:
        return None
    listed = (DicomSender(ae_title=each) for each in dicom.allowed_calling_ae_titles)
    return SenderRules((*dicom.senders, *listed))


class _Rule:
    def __init__(self, sender: DicomSender) -> None:
        self.ae_title = sender.ae_title
        self._networks = tuple(map(ipaddress.ip_network, sender.networks))
        self._certificate = sender.certificate

    def covers(self, address: Address | None) -> bool:
        if not self._networks:
            return True
        return address is not None and any(address in network for network in self._networks)

    def recognises(self, certificate: PeerCertificate | None) -> bool:
        if self._certificate is None:
            return True
        return certificate is not None and certificate.is_called(self._certificate)


def _address(text: str) -> Address | None:
    """Parse an address; one of IPv4 that a socket of IPv6 accepted is one of IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
