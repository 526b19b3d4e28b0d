"""Check the certificates for DICOM over TLS: that they can be used, and do not expire soon."""

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from service.dicom.secure_transport import (
    OwnCertificate,
    TlsFileError,
    client_context,
    read_validity,
    server_context,
)
from service.domain.check_result import CheckResult
from service.settings import Settings, TlsPeer

WARN_BEFORE: Final = timedelta(days=30)

_NOTE, _ERROR = 1, 2  # see `CheckResult.severity`


def certificate_results(settings: Settings, now: datetime | None = None) -> Iterator[CheckResult]:
    """Check the certificate of the listener, and those that are shown to other machines."""
    at = now or datetime.now(UTC)
    dicom = settings.dicom
    own = dicom.own_certificate
    if own is not None:
        load = partial(server_context, own, dicom.tls_ca_file, ssl.CERT_NONE)
        yield _result("certificate of the listener", own, load, at)
    destinations = (each for each in settings.destinations if isinstance(each, TlsPeer))
    for subject, peer in (
        *((f"certificate for {each.name}", each) for each in destinations),
        *((f"certificate for {each.ae_title}", each) for each in dicom.commitment_peers),
    ):
        if peer.tls:
            yield _result(subject, peer.own_certificate, partial(_load, peer), at)


def _load(peer: TlsPeer) -> object:
    return client_context(
        ssl.SSLContext, peer.own_certificate, peer.tls_ca_file, verify_name=peer.tls_verify_name
    )


def _result(
    subject: str, own: OwnCertificate | None, load: Callable[[], object], now: datetime
) -> CheckResult:
    try:
        load()
        if own is None:
            return CheckResult(
                subject=subject, message="none is shown; that of the peer is verified"
            )
        validity = read_validity(own.certificate_file)
    except TlsFileError as exc:
        return CheckResult(subject=subject, message=f"{exc}", severity=_ERROR)
    fault = validity.fault(now)
    if fault is not None:
        said = f"the certificate in {own.certificate_file} {fault}"
        return CheckResult(subject=subject, message=said, severity=_ERROR)
    until = f"valid until {validity.not_after:%Y-%m-%d}"
    if validity.fault(now + WARN_BEFORE) is not None:
        soon = f"{until}: renew {own.certificate_file}, which needs no restart"
        return CheckResult(subject=subject, message=soon, severity=_NOTE)
    return CheckResult(subject=subject, message=until)
