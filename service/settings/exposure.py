"""Check what other machines can reach, and whether the settings allow it."""

from service.settings.destinations import Destination, WebDestination
from service.settings.loopback import is_loopback
from service.settings.sections import (
    AuditSettings,
    DicomSettings,
    SyslogTransport,
    WebSettings,
)


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
    """Warn of an unencrypted connection to a DICOMweb service; None when there is none."""
    if not isinstance(destination, WebDestination):
        return None
    if destination.is_encrypted or destination.is_on_this_machine:
        return None
    return (
        f"{destination.url} is not encrypted: patient data can be read in transit. Use https:// "
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
