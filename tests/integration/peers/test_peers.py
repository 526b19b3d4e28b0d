"""Tests of the other tests' peers: they start, respond, stop, and listen on loopback only."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import psycopg
import pydicom
import pytest
import redis
import sqlalchemy
from peers.dcmtk import StoreSCP
from peers.orthanc import OrthancServer
from peers.postgresql import PostgreSQLServer
from peers.redis_server import RedisServer
from pydicom.uid import UID, ComprehensiveSRStorage, JPEG2000Lossless
from support.system import programs
from support.system.ports import LOOPBACK
from support.system.programs import find_program
from synthetic.objects import encode, make_cr, make_dx, make_sc

from service.dicom.sop_classes import TRANSFER_SYNTAXES

Store = Callable[..., subprocess.CompletedProcess[str]]
UNKNOWN_TO_DCMTK = {"HTJ2K", "HTJ2KLossless", "HTJ2KLosslessRPCL"}


def saved(dataset: pydicom.Dataset, folder: Path) -> Path:
    file = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return file


def listening_addresses(pid: int) -> set[str]:
    """List the addresses on which a process and its children accept TCP connections."""
    process = psutil.Process(pid)
    return {
        connection.laddr.ip
        for each in [process, *process.children(recursive=True)]
        for connection in each.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def own_address_elsewhere() -> str | None:
    """Return an address of this machine other than loopback, if it has one."""
    addresses = (each for of_one in psutil.net_if_addrs().values() for each in of_one)
    return next(
        (
            str(each.address)
            for each in addresses
            if each.family == socket.AF_INET and not each.address.startswith("127.")
        ),
        None,
    )


def test_redis_forgets_on_a_kill_and_returns_on_the_same_port(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("key", "value")
    redis_server.kill()
    assert not redis_server.running

    redis_server.start()

    with redis.Redis.from_url(redis_server.url) as client:
        assert client.dbsize() == 0
        assert client.ping()


@pytest.mark.parametrize("attempt", [1, 2])
def test_redis_is_running_and_empty_whatever_the_last_test_did(
    redis_server: RedisServer, attempt: int
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.dbsize() == 0
        client.set("attempt", attempt)
    redis_server.stop()


@pytest.mark.postgresql
@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_finds_an_empty_database(postgresql_url: str, attempt: int) -> None:
    engine = sqlalchemy.create_engine(postgresql_url)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE TABLE attempt_{attempt} (id INTEGER)"))
    engine.dispose()


@pytest.mark.postgresql
def test_a_killed_postgresql_keeps_what_was_committed(
    postgresql_server: PostgreSQLServer, postgresql_url: str
) -> None:
    engine = sqlalchemy.create_engine(postgresql_url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE kept (id INTEGER)"))
    postgresql_server.kill()
    with pytest.raises(sqlalchemy.exc.OperationalError) as failure, engine.connect():
        pass
    assert isinstance(failure.value.orig, psycopg.OperationalError)

    postgresql_server.start()

    assert sqlalchemy.inspect(engine).get_table_names() == ["kept"]


def test_a_ledger_is_empty_on_both_kinds(ledger_url: str) -> None:
    engine = sqlalchemy.create_engine(ledger_url)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()


def test_redis_listens_on_loopback_only(redis_server: RedisServer) -> None:
    assert listening_addresses(redis_server.pid) == {LOOPBACK}


@pytest.mark.postgresql
def test_postgresql_listens_on_no_network(postgresql_server: PostgreSQLServer) -> None:
    assert listening_addresses(postgresql_server.pid) == set()


@pytest.mark.dcmtk
@pytest.mark.orthanc
def test_orthanc_keeps_what_dcmtk_stores_until_the_next_test(
    orthanc: OrthancServer, dcmtk_store: Store, tmp_path: Path
) -> None:
    assert orthanc.instances() == []
    source = make_cr(patient_name="Stored^Here")

    done = dcmtk_store(orthanc.dicom_port, orthanc.ae_title, [saved(source, tmp_path)])

    assert done.returncode == 0, done.stderr
    (stored,) = orthanc.instances()
    assert stored["SOPInstanceUID"] == source.SOPInstanceUID
    assert stored["PatientName"] == "Stored^Here"
    (tmp_path / "back.dcm").write_bytes(orthanc.dicom_file(stored["ID"]))
    assert pydicom.dcmread(tmp_path / "back.dcm").PixelData == source.PixelData
    orthanc.reset()
    assert orthanc.instances() == []


@pytest.mark.dcmtk
@pytest.mark.orthanc
def test_orthanc_returns_on_the_same_ports_with_what_it_kept(
    orthanc: OrthancServer, dcmtk_store: Store, tmp_path: Path
) -> None:
    file = saved(make_dx(), tmp_path)
    assert dcmtk_store(orthanc.dicom_port, orthanc.ae_title, [file]).returncode == 0

    orthanc.stop()

    assert not orthanc.running
    assert dcmtk_store(orthanc.dicom_port, orthanc.ae_title, [file]).returncode != 0
    orthanc.start()
    assert len(orthanc.instances()) == 1


@pytest.mark.dcmtk
@pytest.mark.orthanc
def test_orthanc_refuses_peers_that_are_not_on_loopback(
    orthanc: OrthancServer, program: Callable[[str], Path], tmp_path: Path
) -> None:
    elsewhere = own_address_elsewhere()
    if elsewhere is None:
        pytest.skip("this machine has no address but loopback")
    port = httpx.URL(orthanc.http_url).port

    answer = httpx.get(f"http://{elsewhere}:{port}/instances")
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    file = saved(make_cr(), tmp_path)
    subprocess.run([program("storescu"), elsewhere, str(orthanc.dicom_port), file], check=False)
    assert orthanc.instances() == []


@pytest.mark.dcmtk
@pytest.mark.orthanc
def test_dcmtk_stores_every_syntax_it_knows_as_it_is(
    orthanc: OrthancServer, dcmtk_store: Store, tmp_path: Path
) -> None:
    syntaxes = [uid for uid in TRANSFER_SYNTAXES if UID(uid).keyword not in UNKNOWN_TO_DCMTK]
    files = [saved(encode(make_sc(), syntax), tmp_path) for syntax in syntaxes]

    done = dcmtk_store(orthanc.dicom_port, orthanc.ae_title, files)

    assert done.returncode == 0, done.stderr
    stored = [orthanc.dicom_file(each["ID"]) for each in orthanc.instances()]
    kept = [pydicom.dcmread(BytesIO(each)).file_meta.TransferSyntaxUID for each in stored]
    assert sorted(kept) == sorted(syntaxes)


@pytest.mark.dcmtk
def test_a_receiver_writes_what_it_is_sent_as_it_was_sent(
    storescp: Callable[..., StoreSCP], dcmtk_store: Store, tmp_path: Path
) -> None:
    source = encode(make_cr(), JPEG2000Lossless)
    receiver = storescp()

    done = dcmtk_store(receiver.port, receiver.ae_title, [saved(source, tmp_path)])

    assert done.returncode == 0, done.stderr
    (received,) = map(pydicom.dcmread, receiver.received())
    assert received.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert received.SOPInstanceUID == source.SOPInstanceUID
    assert received.PixelData == source.PixelData


@pytest.mark.dcmtk
def test_a_receiver_can_refuse_and_can_be_stopped_and_started(
    storescp: Callable[..., StoreSCP], dcmtk_store: Store, tmp_path: Path
) -> None:
    file = saved(make_sc(), tmp_path)
    refusing = storescp("--refuse")
    assert dcmtk_store(refusing.port, refusing.ae_title, [file]).returncode != 0
    assert refusing.received() == []

    receiver = storescp()
    receiver.kill()
    assert dcmtk_store(receiver.port, receiver.ae_title, [file]).returncode != 0
    receiver.start()
    assert dcmtk_store(receiver.port, receiver.ae_title, [file]).returncode == 0
    assert len(receiver.received()) == 1


@pytest.mark.pixelmed
def test_pixelmed_reports_what_a_template_lacks(
    pixelmed_sr_validator: Callable[[list[Path]], dict[Path, str]], tmp_path: Path
) -> None:
    report = saved(empty_report(), tmp_path)

    said = pixelmed_sr_validator([report])

    assert list(said) == [report]
    assert "Found Root Template TID_1500" in said[report]
    assert "Missing conditional content item" in said[report]
    assert "IOD validation complete" in said[report]


def empty_report() -> pydicom.Dataset:
    """Build a Comprehensive SR with template TID 1500 and no content."""
    report = pydicom.Dataset()
    report.file_meta = make_cr().file_meta
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID
    report.Modality = "SR"
    report.ValueType = "CONTAINER"
    report.ContinuityOfContent = "SEPARATE"
    report.ConceptNameCodeSequence = [pydicom.Dataset()]
    report.ConceptNameCodeSequence[0].CodeValue = "126000"
    report.ConceptNameCodeSequence[0].CodingSchemeDesignator = "DCM"
    report.ConceptNameCodeSequence[0].CodeMeaning = "Imaging Measurement Report"
    report.ContentTemplateSequence = [pydicom.Dataset()]
    report.ContentTemplateSequence[0].MappingResource = "DCMR"
    report.ContentTemplateSequence[0].TemplateIdentifier = "1500"
    return report


def test_programs_of_the_virtual_environment_are_not_taken_for_the_system_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = Path(sys.executable).parent
    assert (own / "storescu").exists(), "pynetdicom no longer installs a storescu"
    monkeypatch.setenv("PATH", str(own), prepend=":")
    assert find_program("storescu") != own / "storescu"


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_a_missing_program_skips_at_home_and_fails_under_ci(
    monkeypatch: pytest.MonkeyPatch,
    program: Callable[[str], Path],
    ci: str,
    outcome: type[BaseException],
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(programs, "OUTSIDE_PATH", ())
    monkeypatch.setattr(os, "defpath", "")
    with pytest.raises(outcome, match="install the Debian package dcmtk"):
        program("storescu")
