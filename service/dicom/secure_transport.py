"""TLS for associations, by the BCP 195 RFC 8996, 9325 profile (PS3.15 B.12).

TLS 1.2 and 1.3, cipher suites with forward secrecy and authenticated encryption (RFC 9325 4.2), no
compression (3.3), no renegotiation (3.5), no session that outlives a change of certificates (3.4).
"""

import hashlib
import ssl
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from cryptography import x509

REGISTERED_PORT: Final = 2762  # dicom-tls, in IANA's registry

CIPHER_SUITES: Final = (  # of TLS 1.2; those of TLS 1.3 (RFC 8446 B.4) are all of this kind
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)

_NAMES_IN_SUBJECT: Final = "commonName"
_OTHERS_MAY_READ: Final = stat.S_IROTH | stat.S_IWOTH

Context = TypeVar("Context", bound=ssl.SSLContext)


class TlsFileError(Exception):
    """A certificate, key or list of authorities cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCertificate:
    """One of our certificates, in PEM, with the chain to its authority."""

    certificate_file: Path
    key_file: Path | None  # None: the key is in the certificate's file

    @property
    def file_with_key(self) -> Path:
        """The file with the private key."""
        return self.key_file or self.certificate_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when to when a certificate is valid."""

    not_before: datetime
    not_after: datetime

    def fault(self, now: datetime) -> str | None:
        """Explain why the certificate is not valid at this moment; None if it is."""
        if now > self.not_after:
            return f"expired on {self.not_after:%Y-%m-%d}"
        if now < self.not_before:
            return f"is not valid before {self.not_before:%Y-%m-%d}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCertificate:
    """The certificate by which a peer identified itself: its names, in lower case, and digest."""

    names: frozenset[str]
    fingerprint: str  # SHA-256, in hexadecimal

    def is_called(self, wanted: str) -> bool:
        """Return whether this is its fingerprint, its common name or an alternative name."""
        return wanted == self.fingerprint or wanted in self.names


def server_context(
    own: OwnCertificate, authorities_file: Path | None, verify_mode: ssl.VerifyMode
) -> ssl.SSLContext:
    """Build the context of an acceptor, which verifies the certificates of its peers like this.

    Raises:
        TlsFileError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _apply_profile(context)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_TICKET
    context.num_tickets = 0
    load_own(context, own)
    if authorities_file is not None:
        load_authorities(context, authorities_file)
    context.verify_mode = verify_mode
    return context


def client_context(
    kind: type[Context],
    own: OwnCertificate | None,
    authorities_file: Path | None,
    *,
    verify_name: bool,
) -> Context:
    """Build the context of a requestor, which verifies the certificate of its peer.

    Args:
        kind: the class of the context.
        own: the certificate to show if the peer asks for one.
        authorities_file: the authorities to trust; None: those that the system trusts.
        verify_name: whether the peer's certificate must bear the name that it is reached by.

    Raises:
        TlsFileError: a file cannot be used.
    """
    context = kind(ssl.PROTOCOL_TLS_CLIENT)
    _apply_profile(context)
    context.check_hostname = verify_name
    if own is not None:
        load_own(context, own)
    if authorities_file is not None:
        load_authorities(context, authorities_file)
    else:
        context.load_default_certs()
    return context


def load_own(context: ssl.SSLContext, own: OwnCertificate) -> None:
    """Load our certificate and its key into a context.

    Raises:
        TlsFileError: one cannot be read, they do not belong together, or others may read the key.
    """
    read_validity(own.certificate_file)
    _require_private(own.file_with_key)
    try:
        context.load_cert_chain(
            own.certificate_file,
            own.file_with_key,
            password=lambda: "",  # else OpenSSL would ask for one on a terminal
        )
    except OSError as exc:  # ssl.SSLError is one
        if getattr(exc, "reason", None) == "KEY_VALUES_MISMATCH":
            what = f"does not belong to the certificate in {own.certificate_file}"
            raise TlsFileError(f"the key in {own.file_with_key} {what}") from exc
        raise TlsFileError(f"{own.file_with_key} holds no key in PEM without a password") from exc
    except ValueError as exc:  # of a password
        raise TlsFileError(f"{own.file_with_key} holds no key in PEM without a password") from exc


def load_authorities(context: ssl.SSLContext, file: Path) -> None:
    """Have a context trust the certificates in a file, be they of a root, below one, or a peer's.

    Raises:
        TlsFileError: the file cannot be read, or holds no certificate.
    """
    _read_certificates(file)
    try:
        context.load_verify_locations(file)
    except OSError as exc:
        raise TlsFileError(f"{file} holds no certificates in PEM") from exc


def read_validity(certificate_file: Path) -> Validity:
    """Read from when to when a certificate and those of its chain are valid together.

    Raises:
        TlsFileError: the file cannot be read, or holds no certificate.
    """
    chain = _read_certificates(certificate_file)
    return Validity(
        not_before=max(each.not_valid_before_utc for each in chain),
        not_after=min(each.not_valid_after_utc for each in chain),
    )


def peer_certificate(connection: ssl.SSLSocket) -> PeerCertificate | None:
    """Return the certificate that the peer showed and that was verified; None if it showed none."""
    encoded = connection.getpeercert(binary_form=True)
    if encoded is None:
        return None
    decoded: dict[str, Any] = dict(connection.getpeercert() or {})
    if not decoded:  # it was not verified
        return None
    subject = [pair for part in decoded.get("subject", ()) for pair in part]
    names = {value for kind, value in subject if kind == _NAMES_IN_SUBJECT}
    names |= {value for kind, value in decoded.get("subjectAltName", ()) if isinstance(value, str)}
    return PeerCertificate(
        names=frozenset(name.casefold() for name in names),
        fingerprint=hashlib.sha256(encoded).hexdigest(),
    )


def _apply_profile(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(CIPHER_SUITES))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is listed is trusted, root or not


def _read_certificates(file: Path) -> "list[x509.Certificate]":
    from cryptography import x509  # noqa: PLC0415 -- every part reads settings, and few have TLS

    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as exc:
        raise TlsFileError(f"{file} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise TlsFileError(f"{file} holds no certificate in PEM") from exc


def _require_private(key_file: Path) -> None:
    try:
        mode = key_file.stat().st_mode
    except OSError as exc:
        raise TlsFileError(f"{key_file} cannot be read: {exc.strerror}") from exc
    if mode & _OTHERS_MAY_READ:
        raise TlsFileError(
            f"every account of this machine may read the key in {key_file}: `chmod 600` it"
        )
