"""Check what other machines can reach, and whether the settings allow it."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.settings.destinations import Destination, WebPeer
from service.settings.loopback import is_loopback
from service.settings.sections import (
    AuditSettings,
    DicomSender,
    DicomSettings,
    SyslogTransport,
    TlsPeer,
    WebSettings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningAddress:
    """An address that is listened on: who can reach it, and what is asked of them."""

    subject: str
    message: str
    notice: str | None  # what is dangerous about it


def listener_fault(dicom: DicomSettings) -> str | None:
    """Explain why the listener may not start: any machine could store. None when it may."""
    if dicom.known_calling_ae_titles or dicom.allow_any_calling_ae_title:
        return None
    addresses = (dicom.plain_address, dicom.tls_address)
    for address in addresses:
        if address is not None and not is_loopback(address[0]):
            name = "dicom.tls_host" if address[0] == dicom.tls_host else "dicom.host"
            return (
                f"{name} is {address[0]}, which other machines can reach: list the senders in "
                "dicom.allowed_calling_ae_titles or dicom.senders, or set "
                "dicom.allow_any_calling_ae_title to true."
            )
    return None


def listening_addresses(dicom: DicomSettings) -> list[ListeningAddress]:
    """Describe each address at which the listener accepts associations."""
    found = []
    if dicom.plain_address is not None:
        found.append(_plain(dicom, *dicom.plain_address))
    if dicom.tls_address is not None:
        found.append(_over_tls(dicom, *dicom.tls_address))
    return found


def _plain(dicom: DicomSettings, host: str, port: int) -> ListeningAddress:
    is_open = not is_loopback(host)
    senders = [each for each in dicom.senders if each.certificate is None]
    return ListeningAddress(
        subject="listener",
        message=_sentence(dicom, host, port, senders, "without TLS"),
        notice="what is sent there can be read and changed in transit, and an AE title proves "
        "nothing: set dicom.tls_certificate_file, or keep it within a network that is trusted"
        if is_open
        else None,
    )


def _over_tls(dicom: DicomSettings, host: str, port: int) -> ListeningAddress:
    asked = {
        "required": f"over TLS, with a certificate of an authority in {dicom.tls_ca_file}",
        "optional": f"over TLS; a certificate that is shown must be of {dicom.tls_ca_file}",
        "none": "over TLS, without a certificate",
    }
    proves_nothing = dicom.client_certificate == "none" and not is_loopback(host)
    return ListeningAddress(
        subject="listener (TLS)",
        message=_sentence(dicom, host, port, dicom.senders, asked[dicom.client_certificate]),
        notice="no sender has to show who it is, and an AE title proves nothing: set "
        "dicom.tls_ca_file"
        if proves_nothing
        else None,
    )


def _sentence(
    dicom: DicomSettings, host: str, port: int, senders: Iterable[DicomSender], how: str
) -> str:
    who = [*dicom.allowed_calling_ae_titles, *map(_rule, senders)]
    is_for_any = dicom.allow_any_calling_ae_title or not dicom.known_calling_ae_titles
    whom = "any sender" if is_for_any else ", ".join(who) or "no sender"
    reach = " on this machine" if is_loopback(host) else ""
    return f"{dicom.ae_title} on {host}:{port}, for {whom}{reach}; {how}"


def _rule(sender: DicomSender) -> str:
    words = [sender.ae_title]
    if sender.networks:
        words.append(f"from {' or '.join(sender.networks)}")
    if sender.certificate is not None:
        words.append(f"with the certificate {sender.certificate}")
    return " ".join(words)


def web_fault(web: WebSettings) -> str | None:
    """Explain why the pages may not be served: any machine could open them. None when they may."""
    if web.allow_non_loopback or is_loopback(web.host):
        return None
    return (
        f"web.host is {web.host}, which other machines can reach. Make the users who may sign in "
        "(`lobar user add NAME --role ROLE`), put a proxy with TLS in front, and set "
        "web.allow_non_loopback (LOBAR_WEB__ALLOW_NON_LOOPBACK=true); or keep 127.0.0.1."
    )


def destination_notice(destination: Destination) -> str | None:
    """Warn of an unencrypted connection to a destination; None when there is none."""
    if isinstance(destination, WebPeer):
        if destination.is_encrypted or destination.is_on_this_machine:
            return None
        where, instead = destination.url, "Use https://"
    elif isinstance(destination, TlsPeer):
        if destination.tls or is_loopback(destination.host):
            return None
        where, instead = f"{destination.host}:{destination.port}", "Set tls to true"
    else:
        return None
    return (
        f"{where} is not encrypted: patient data can be read in transit. {instead} "
        "unless something else protects the connection."
    )


def audit_notice(audit: AuditSettings) -> str | None:
    """Warn of an unencrypted connection to the syslog server; None when there is none."""
    if audit.syslog_host is None or audit.syslog_transport is SyslogTransport.TLS:
        return None
    if is_loopback(audit.syslog_host):
        return None
    return (
        f"messages to {audit.syslog_host} are not encrypted and name patients by their ID: set "
        "audit.syslog_transport to tls unless something else protects the connection."
    )
