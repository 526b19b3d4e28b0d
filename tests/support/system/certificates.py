"""Certificates for servers and clients of tests, made by OpenSSL when a test wants them."""

import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.system.ports import LOOPBACK
from support.system.programs import need_program

_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
_NO_DEFAULTS: Final = "[req]\ndistinguished_name = name\n[name]\n"  # they make all authorities


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path

    def with_key(self) -> Path:
        """Both in one file, as many keep them."""
        both = self.certificate.with_suffix(".both.pem")
        both.write_text(self.key.read_text() + self.certificate.read_text())
        return both

    def locked_key(self, password: str) -> Path:
        """The key once more, behind a password."""
        locked = self.key.with_suffix(".locked")
        arguments: list[str | Path] = ["pkcs8", "-topk8", "-in", self.key, "-out", locked]
        subprocess.run(
            [need_program("openssl"), *arguments, "-passout", f"pass:{password}"], check=True
        )
        return locked


class Authority:
    """A certificate authority that nobody trusts but who is told to."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._own = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
        _openssl(self._own, name, "basicConstraints=critical,CA:TRUE")

    @property
    def certificate(self) -> Path:
        """What others trust it by."""
        return self._own.certificate

    def issue(self, name: str, address: str = LOOPBACK, *, days: int = 2) -> Certificate:
        """Give a certificate for a server at this address, or for a client."""
        issued = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        signing = ("-CA", str(self._own.certificate), "-CAkey", str(self._own.key))
        _openssl(issued, name, f"subjectAltName=IP:{address}", *signing, days=days)
        return issued

    def issue_expired(self, name: str) -> Certificate:
        """Give a certificate for 127.0.0.1 that expired yesterday; OpenSSL's command makes none."""
        issued = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        signing = serialization.load_pem_private_key(self._own.key.read_bytes(), password=None)
        assert isinstance(signing, ec.EllipticCurvePrivateKey)
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now - timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False
            )
            .sign(signing, hashes.SHA256())
        )
        issued.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        issued.key.touch(0o600)
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return issued

    def client_context(self, certificate: Certificate | None = None) -> ssl.SSLContext:
        """How a client of Python's trusts this authority, and shows a certificate."""
        context = ssl.create_default_context(cafile=self.certificate)
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        return context

    def server_context(self, certificate: Certificate) -> ssl.SSLContext:
        """How a server of Python's shows a certificate and demands one of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        context.load_verify_locations(self.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _openssl(made: Certificate, name: str, extension: str, *signing: str, days: int = 2) -> None:
    configuration = made.key.with_suffix(".cnf")
    configuration.write_text(_NO_DEFAULTS)
    out = ("-keyout", str(made.key), "-out", str(made.certificate))
    what = ("-config", str(configuration), "-subj", f"/CN={name}", "-addext", extension)
    arguments = (*what, "-days", str(days), *_NEW_KEY, *out, *signing)
    subprocess.run(
        [need_program("openssl"), "req", "-x509", *arguments], check=True, capture_output=True
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority of this run; `issue(name)` makes a certificate for 127.0.0.1."""
    return Authority(tmp_path_factory.mktemp("authority"), "authority")
