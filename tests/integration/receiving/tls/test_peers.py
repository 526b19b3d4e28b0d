"""Tests of TLS with programs of others: DCMTK's senders, and Orthanc as a sender."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers.orthanc import OrthancServer
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLosslessSV1
from support.listener import RunningListener
from support.system.certificates import Authority, Certificate
from support.system.http import HTTP
from support.system.ports import LOOPBACK
from synthetic.objects import encode, make_cr
from synthetic.part10 import part10

Store = Callable[..., subprocess.CompletedProcess[str]]


def shown(certificate: Certificate, trusted: Authority) -> list[str]:
    """Return DCMTK's options to show a certificate, and to trust an authority."""
    files = (str(certificate.key), str(certificate.certificate))
    return ["--enable-tls", *files, "--add-cert-file", str(trusted.certificate)]


def nobody(trusted: Authority) -> list[str]:
    """Return DCMTK's options to show no certificate."""
    return ["--anonymous-tls", "--add-cert-file", str(trusted.certificate)]


def written(folder: Path, dataset: Dataset) -> Path:
    file = folder / "cr.dcm"
    file.write_bytes(part10(dataset))
    return file


@pytest.mark.dcmtk
@pytest.mark.parametrize(
    "profile", [[], ["--profile-bcp195"], ["--profile-bcp195-ex"]], ids=["nd", "bcp195", "extended"]
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLosslessSV1])
def test_dcmtk_stores_over_tls_with_its_certificate(
    mutual: RunningListener,
    dcmtk_store: Store,
    authority: Authority,
    client_certificate: Certificate,
    tmp_path: Path,
    profile: list[str],
    syntax: str,
) -> None:
    dataset = encode(make_cr(rows=64, columns=64), syntax)
    file = written(tmp_path, dataset)
    ran = dcmtk_store(mutual.port, "LOBAR", [file], *shown(client_certificate, authority), *profile)
    assert ran.returncode == 0, ran.stderr
    assert mutual.kept_data_set(dataset.SOPInstanceUID)


@pytest.mark.dcmtk
def test_dcmtk_without_a_certificate_or_with_anothers_is_refused(
    mutual: RunningListener,
    dcmtk_store: Store,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
) -> None:
    file = written(tmp_path, make_cr(rows=16, columns=16))
    for options in (
        nobody(authority),
        shown(stranger.issue("dcmtk"), authority),
        shown(authority.issue_expired("dcmtk-late"), authority),
        [],
    ):
        ran = dcmtk_store(mutual.port, "LOBAR", [file], *options)
        assert ran.returncode != 0, options
        assert "Status: Success" not in ran.stdout + ran.stderr


@pytest.mark.dcmtk
def test_dcmtk_does_not_trust_a_listener_of_another_authority(
    mutual: RunningListener,
    dcmtk_store: Store,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
) -> None:
    file = written(tmp_path, make_cr(rows=16, columns=16))
    ran = dcmtk_store(mutual.port, "LOBAR", [file], *shown(authority.issue("trusting"), stranger))
    assert ran.returncode != 0
    assert "certificate verify failed" in ran.stderr


@pytest.mark.dcmtk
def test_dcmtk_without_a_certificate_is_served_where_none_is_asked_for(
    both_ports: RunningListener, program: Callable[[str], Path], authority: Authority
) -> None:
    for port, options in ((both_ports.tls_port, nobody(authority)), (both_ports.port, [])):
        ran = subprocess.run(
            [program("echoscu"), *options, LOOPBACK, str(port)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr


@pytest.fixture
def tls_orthanc(
    tmp_path_factory: pytest.TempPathFactory,
    mutual: RunningListener,
    authority: Authority,
) -> Iterator[OrthancServer]:
    """An Orthanc that speaks TLS, and knows the listener as a modality over TLS."""
    own = authority.issue("orthanc")
    server = OrthancServer(
        tmp_path_factory.mktemp("tls-orthanc"),
        options={
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(own.certificate),
            "DicomTlsPrivateKey": str(own.key),
            "DicomTlsTrustedCertificates": str(authority.certificate),
            "DicomModalities": {
                "lobar": {
                    "AET": "LOBAR",
                    "Host": LOOPBACK,
                    "Port": mutual.port,
                    "UseDicomTls": True,
                }
            },
        },
    )
    server.start()
    yield server
    server.kill()


@pytest.mark.orthanc
def test_orthanc_stores_over_tls(mutual: RunningListener, tls_orthanc: OrthancServer) -> None:
    dataset = make_cr(rows=64, columns=64)
    tls_orthanc.keep(part10(dataset))
    (held,) = tls_orthanc.instances()
    HTTP.post(f"{tls_orthanc.http_url}/modalities/lobar/echo", json={}).raise_for_status()
    HTTP.post(
        f"{tls_orthanc.http_url}/modalities/lobar/store", json=[held["ID"]]
    ).raise_for_status()
    assert mutual.kept_data_set(dataset.SOPInstanceUID)
