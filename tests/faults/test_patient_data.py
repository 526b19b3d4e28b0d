"""Marked patient data through every interface is in the spool, the ledger and the outputs only."""

import io
import re
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from peers.collector import StandInCollector
from peers.raw_scu import Sender, data_set_bytes
from peers.redis_server import RedisServer
from peers.scripted_pacs import ScriptedPacs
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from support.lobar_process import LobarService, destination, processes_of, wait_for
from support.system.http import HTTP
from support.system.ports import LOOPBACK
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.telemetry.tracing.spans import Step

CR: Final = str(ComputedRadiographyImageStorage)
MARKS: Final = ("zzyzx", "quillon", "qx-7731", "accqz9", "xyloq", "20220219")
# soft and hard: one byte keeps the kernel from piping a core too, and is enough for none (core(5))
NO_CORE: Final = re.compile(r"^Max core file size +(0 +0|1 +1) ", re.MULTILINE)
KEPT_HERE: Final = ("spool", "ledger.sqlite3")  # where patient data belongs


def marked() -> Dataset:
    """Build an instance that names a patient wherever a header can."""
    dataset = make_cr(rows=64, columns=64, patient_name="Zzyzx^Quillon", birth_date="20220219")
    dataset.PatientID = "QX-7731"
    dataset.AccessionNumber = "ACCQZ9"
    dataset.StudyDescription = "of Zzyzx"
    dataset.InstitutionName = "Xyloq"
    dataset.PatientComments = dataset.ImageComments = "Quillon at Xyloq"
    dataset.ReferringPhysicianName = "Xyloq^Quillon"
    return dataset


@contextmanager
def overheard(server: RedisServer) -> Iterator[list[str]]:
    """List what Redis is asked while the block runs (MONITOR)."""
    heard: list[str] = []
    connection = socket.create_connection((LOOPBACK, server.port))
    connection.sendall(b"MONITOR\r\n")

    def listen() -> None:
        with connection.makefile("r", errors="replace") as lines:
            heard.extend(lines)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield heard
    finally:
        connection.shutdown(socket.SHUT_RDWR)
        thread.join()
        connection.close()


def by_dicom(service: LobarService) -> None:
    """Store what is good, damaged, and not what its command says; the title is marked too."""
    sent = data_set_bytes(marked())
    unknown = sent.replace(b"ISO_IR 192", b"ISO_IR 999")
    contexts = ((CR, str(ExplicitVRLittleEndian)),)
    with Sender(service.dicom_port, contexts, calling="ZZYZX QUILLON") as sender:
        for data_set in (sent, unknown, sent[:-40], b"Zzyzx^Quillon"):
            sender.store(CR, uid_in(data_set) or "1.2.3", data_set)
        sender.store(CR, "1.2.3", sent)
    with Sender(service.dicom_port, contexts) as sender:
        sender.begin_store(CR, "Zzyzx Quillon", context_id=1)
        sender.say(b"Zzyzx^Quillon")


def uid_in(data_set: bytes) -> str | None:
    found = re.search(rb"\x08\x00\x18\x00UI..([0-9.]+)", data_set)
    return found[1].decode() if found else None


def by_http(service: LobarService) -> None:
    """Upload, store over DICOMweb, search, and fail to sign in, with names everywhere."""
    stream = io.BytesIO()
    Image.linear_gradient("L").save(stream, "PNG")
    good, png = part10(marked()), stream.getvalue()
    for content in (good, good[:-40], good[:300], png, b"Zzyzx Quillon"):
        files = {"files": ("Zzyzx-Quillon.dcm", content, "application/octet-stream")}
        HTTP.post(f"{service.url}/api/v1/instances", files=files)
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--b--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        HTTP.post(f"{service.url}/dicom-web/studies", content=body, headers={"Content-Type": kind})
    for path in (
        *("/?q=Zzyzx", "/jobs/QX-7731", "/Zzyzx/Quillon", "/api/v1/jobs?study=Zzyzx"),
        *("/dicom-web/studies?PatientName=Zzyzx*", "/dicom-web/studies/Zzyzx/metadata"),
        *("/fhir/DiagnosticReport?patient:identifier=QX-7731", "/fhir/Observation/Zzyzx"),
    ):
        HTTP.get(f"{service.url}{path}", headers={"Referer": f"{service.url}/?q=QX-7731"})
    HTTP.post(f"{service.url}/sign-in", data={"name": "zzyzx", "password": "xyloq"})
    HTTP.post(f"{service.url}/dicom-web/studies?Zzyzx", content=b"Quillon")


@contextmanager
def core_files_allowed() -> Iterator[None]:
    """Let processes write core files while the block runs, as a machine may be set up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def refuse_in_words(_: Dataset) -> int:
    return 0xC123


# the scripted PACS decodes what it is sent, and warns of a character set that nobody knows
@pytest.mark.filterwarnings("ignore:Unknown encoding")
@pytest.mark.parametrize("redis_server", ["valkey"], indirect=True)
def test_no_mark_is_in_log_metrics_broker_or_temporary_files(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with (
        ScriptedPacs().running() as pacs,
        ScriptedPacs(answer=refuse_in_words).running() as strict,
        overheard(redis_server) as heard,
        StandInCollector().running() as collector,
    ):
        service = LobarService(
            tmp_path,
            [
                destination(pacs, "pacs"),
                destination(strict, "strict", outputs=["sr", "overlay", "gsps", "pdf"]),
            ],
            LOBAR_REDIS__URL=redis_server.url,
            LOBAR_LOG__LEVEL="debug",
            LOBAR_TRACING__ENDPOINT=collector.endpoint,
            LOBAR_DELIVER__MAXIMUM_REFUSALS="1",
            TMPDIR=str(temporary),
        )
        with core_files_allowed():
            service.start()
        try:
            by_dicom(service)
            by_http(service)
            wait_for(lambda: settled(service))
            metrics = HTTP.get(f"{service.url}/metrics").text
            pids = processes_of(service.state_dir)
            limits = [Path(f"/proc/{pid}/limits").read_text() for pid in pids]
            commands = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in pids]
            delivered = list(pacs.received)
        finally:
            service.stop()
    assert delivered, "outputs about the marked patient were made"
    assert any(b"Zzyzx" in data_set for _, _, data_set in delivered), "and name the patient"
    assert any("infer" in each for each in heard), "the broker was listened to"
    spans = [str(each) for each in collector.spans]
    assert {each.name for each in collector.spans} == set(Step), "each step was exported"
    log = service.log.read_text()
    assert log.count("\n") > 20
    for place, said in {
        "log": log,
        "metrics": metrics,
        "broker": "\n".join(heard),
        "spans": "\n".join(spans),
        "command lines": "\n".join(commands),
        "temporary files": everything_below(temporary),
        "state directory": everything_below(service.state_dir, but=KEPT_HERE),
    }.items():
        found = [mark for mark in MARKS if mark in said.casefold()]
        assert found == [], f"{found} in the {place}"
    assert limits
    assert all(NO_CORE.search(each) for each in limits), "a core file would hold patient data"


def settled(service: LobarService) -> bool:
    """Whether nothing is in work, and something was parked by the destination that refuses."""
    metrics = service.metrics()
    in_flight = sum(
        value
        for name, value in metrics.items()
        if name.startswith("lobar_jobs{") and ("received" in name or "reported" in name)
    )
    return in_flight == 0 and any("parked" in name for name in metrics)


def everything_below(folder: Path, but: tuple[str, ...] = ()) -> str:
    """Return the names and contents of all files of a folder, as text."""
    found = []
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).parts[0]
        if path.is_file() and not place.startswith(but or ("\0",)):
            found.append(f"{path.name}\n{path.read_bytes().decode('latin-1')}")
    return "\n".join(found)


def test_a_mark_would_be_found(tmp_path: Path) -> None:
    """The search itself: it looks into files of any name, and leaves out what may hold marks."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "kept.dcm").write_bytes(b"\xffZzyzx")
    assert "Zzyzx" not in everything_below(tmp_path, but=KEPT_HERE)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "leak.db").write_bytes(b"\xff\x00Zzyzx")
    assert "Zzyzx" in everything_below(tmp_path, but=KEPT_HERE)
