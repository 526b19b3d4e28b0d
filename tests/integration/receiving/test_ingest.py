"""Tests of the ingest that listener and upload share: a file becomes a job, or nothing is kept."""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    RLELossless,
)
from structlog.testing import capture_logs
from support.listener import RunningListener, Stores, listening
from synthetic.objects import encode, make_cr

from service.dicom.element_reader import read_file_meta
from service.domain.job import Instance, JobState, Receipt, Source
from service.domain.patient import Patient
from service.domain.reasons import Reason
from service.receiving.acceptance import Rejection, StoreCommand
from service.receiving.ingest import Ingest
from service.storage.ledger import LedgerError

OUT_OF_RESOURCES = 0xA700


class BrokenLedger:
    """A ledger whose tables refuse a job, or are missing, until repaired."""

    def __init__(self, folder: Path) -> None:
        self.stores = Stores(folder)
        self._database = sqlite3.connect(folder / "ledger.sqlite3", isolation_level=None)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse every insert; queries work."""
        self._database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON jobs "
            "BEGIN SELECT RAISE(ROLLBACK, 'disk I/O error'); END"
        )
        yield
        self._database.execute("DROP TRIGGER refuse")

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Fail every query too."""
        self._database.execute("ALTER TABLE jobs RENAME TO jobs_elsewhere")
        yield
        self._database.execute("ALTER TABLE jobs_elsewhere RENAME TO jobs")

    def close(self) -> None:
        self._database.close()
        self.stores.ledger.close()


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[BrokenLedger]:
    made = BrokenLedger(tmp_path)
    yield made
    made.close()


@pytest.fixture
def ingest(stores: Stores) -> Ingest:
    return Ingest(stores.spool, stores.ledger, lambda: None)


def cr() -> Dataset:
    return make_cr(rows=16, columns=16)


def arrive(stores: Stores, dataset: Dataset | None = None, content: bytes = b"") -> Path:
    path = stores.spool.incoming / "upload"
    if dataset is None:
        path.write_bytes(content)
    else:
        dataset.save_as(path, enforce_file_format=True)
    return path


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_an_uploaded_file_becomes_a_job_and_its_bytes_lie_in_the_inbox(
    stores: Stores, ingest: Ingest
) -> None:
    dataset = encode(cr(), RLELossless)
    path = arrive(stores, dataset)
    content = path.read_bytes()
    receipt = ingest.receive(path, source=Source.UPLOAD)
    assert isinstance(receipt, Receipt)
    assert stores.spool.inbox(receipt.job_id).read_bytes() == content
    (job,) = stores.jobs_of(dataset.SOPInstanceUID)
    assert (job.id, job.source) == (receipt.job_id, Source.UPLOAD)
    assert job.transfer_syntax_uid == RLELossless
    assert stores.incoming() == []


def test_what_an_urgent_sender_sends_is_urgent(stores: Stores) -> None:
    ingest = Ingest(stores.spool, stores.ledger, lambda: None, urgent_ae_titles=["EMERGENCY"])
    for name, is_urgent in (("EMERGENCY", True), ("WARD", False), ("", False)):
        receipt = ingest.receive(arrive(stores, cr()), source=Source.DICOM, calling_ae_title=name)
        assert isinstance(receipt, Receipt)
        job = stores.ledger.queries.job(receipt.job_id)
        assert job is not None
        assert job.is_urgent == is_urgent


def test_the_patient_of_an_instance_is_recorded(stores: Stores, ingest: Ingest) -> None:
    dataset = make_cr(rows=16, columns=16, patient_name="Test^Größe", charset="ISO_IR 100")
    receipt = ingest.receive(arrive(stores, dataset), source=Source.UPLOAD)
    assert isinstance(receipt, Receipt)
    patient = stores.ledger.patients.of(receipt.job_id)
    assert patient is not None
    assert (patient.patient_name, patient.modality) == ("Test^Größe", "CR")
    assert patient.accession_number == dataset.AccessionNumber


def test_a_header_without_a_patient_is_accepted_with_a_blank_one(
    stores: Stores, ingest: Ingest
) -> None:
    dataset = cr()
    for keyword in (
        *("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
        *("AccessionNumber", "StudyDate", "Modality", "ViewPosition"),
    ):
        if keyword in dataset:
            delattr(dataset, keyword)
    receipt = ingest.receive(arrive(stores, dataset), source=Source.UPLOAD)
    assert isinstance(receipt, Receipt)
    assert stores.ledger.patients.of(receipt.job_id) == Patient()


@pytest.mark.parametrize("name", [b"\xff\xfe\x1b$", b"\0", b"A" * 60_000, b"\x1b" * 400])
def test_a_name_that_cannot_be_read_rejects_nothing(
    stores: Stores, ingest: Ingest, name: bytes
) -> None:
    dataset = cr()
    dataset.PatientName = "Q" * 60
    path = arrive(stores, dataset)
    head, tail = path.read_bytes().split(b"\x10\0\x10\0PN", 1)
    padded = name + b" " * (len(name) % 2)
    path.write_bytes(
        head + b"\x10\0\x10\0PN" + len(padded).to_bytes(2, "little") + padded + tail[62:]
    )
    receipt = ingest.receive(path, source=Source.UPLOAD)
    assert isinstance(receipt, Receipt)
    assert stores.ledger.patients.of(receipt.job_id) is not None


def test_the_same_instance_by_listener_and_upload_is_one_job(
    stores: Stores, ingest: Ingest
) -> None:
    dataset = cr()
    with listening(stores) as listener:
        assert listener.store(dataset) == 0x0000
    receipt = ingest.receive(arrive(stores, dataset), source=Source.UPLOAD)
    assert isinstance(receipt, Receipt)
    assert receipt.repeated


def test_an_instance_from_before_the_digests_had_a_name_is_one_job_when_it_comes_again(
    stores: Stores, ingest: Ingest
) -> None:
    dataset = cr()
    first = ingest.receive(arrive(stores, dataset), source=Source.UPLOAD)
    assert isinstance(first, Receipt)
    with stores.spool.inbox(first.job_id).open("rb") as stream:
        stream.seek(read_file_meta(stream).offset)
        name = hashlib.sha256(stream.read()).hexdigest()
    with closing(sqlite3.connect(stores.folder / "ledger.sqlite3")) as database, database:
        database.execute("UPDATE jobs SET digest = ? WHERE id = ?", [name, first.job_id])
    with listening(stores) as listener:
        assert listener.store(dataset) == 0x0000
        (job,) = stores.jobs_of(dataset.SOPInstanceUID)
        assert (job.id, job.repeats, job.digest) == (first.job_id, 1, name)
        dataset.InstanceNumber = 77
        assert listener.store(dataset) == 0x0000
    assert [each.corrects for each in stores.jobs_of(dataset.SOPInstanceUID)].count(first.job_id)


def test_sending_an_instance_again_heals_a_job_whose_bytes_were_lost(
    stores: Stores, ingest: Ingest
) -> None:
    dataset = cr()
    first = ingest.receive(arrive(stores, dataset), source=Source.UPLOAD)
    assert isinstance(first, Receipt)
    inbox = stores.spool.inbox(first.job_id)
    content = inbox.read_bytes()
    inbox.unlink()
    leased = stores.ledger.jobs.lease("w/", 1000, lease_seconds=60, maximum_attempts=3)
    (job,) = (each for each in leased if each.id == first.job_id)
    stores.ledger.jobs.park(job, Reason.BYTES_MISSING)

    again = ingest.receive(arrive(stores, dataset), source=Source.UPLOAD)
    assert isinstance(again, Receipt)
    assert again.job_id == first.job_id
    assert inbox.read_bytes() == content
    assert [each.state for each in stores.jobs_of(dataset.SOPInstanceUID)] == [JobState.RECEIVED]
    assert stores.incoming() == []


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(500), b"\0" * 128 + b"DICM", b"%PDF" + bytes(999)],
    ids=["nothing", "text", "PNG", "only a preamble", "PDF"],
)
def test_a_file_that_is_not_dicom_cannot_be_understood(
    stores: Stores, ingest: Ingest, content: bytes
) -> None:
    outcome = ingest.receive(arrive(stores, content=content), source=Source.UPLOAD)
    assert outcome == Rejection(reason=Reason.UNDECODABLE, status=0xC000)
    assert stores.incoming() == []


def test_a_file_whose_meta_says_another_instance_does_not_match(
    stores: Stores, ingest: Ingest
) -> None:
    dataset = cr()
    path = arrive(stores, dataset)
    uid = dataset.SOPInstanceUID.encode()
    other = (uid[:-1] + (b"1" if uid[-1:] != b"1" else b"2")).ljust(len(uid))
    path.write_bytes(path.read_bytes().replace(uid, other, 1))  # the first is in the meta
    outcome = ingest.receive(path, source=Source.UPLOAD)
    assert outcome == Rejection(reason=Reason.SOP_INSTANCE_MISMATCH, status=0xA900)


def test_a_command_is_held_against_the_file_before_its_meta(stores: Stores, ingest: Ingest) -> None:
    dataset = cr()
    command = StoreCommand(
        sop_class_uid=CTImageStorage, sop_instance_uid=str(dataset.SOPInstanceUID)
    )
    outcome = ingest.receive(arrive(stores, dataset), command, source=Source.DICOM)
    assert outcome == Rejection(reason=Reason.SOP_CLASS_MISMATCH, status=0xA900)


def test_a_file_that_is_not_there_is_refused(stores: Stores, ingest: Ingest) -> None:
    outcome = ingest.receive(stores.spool.incoming / "gone", source=Source.UPLOAD)
    assert outcome == Rejection(reason=Reason.OUT_OF_RESOURCES, status=OUT_OF_RESOURCES)


def test_a_bomb_is_refused(stores: Stores) -> None:
    dataset = encode(cr(), DeflatedExplicitVRLittleEndian)
    dataset.PixelData = bytes(1 << 20)
    careful = Ingest(stores.spool, stores.ledger, lambda: None, inflated_bytes=1 << 16)
    outcome = careful.receive(arrive(stores, dataset), source=Source.UPLOAD)
    assert outcome == Rejection(reason=Reason.OUT_OF_RESOURCES, status=OUT_OF_RESOURCES)


def test_what_was_received_repeated_and_rejected_is_counted(stores: Stores, ingest: Ingest) -> None:
    names = {
        "received": ("lobar_instances_received_total", {"source": "upload"}),
        "repeated": ("lobar_instances_repeated_total", {}),
        "rejected": ("lobar_instances_rejected_total", {"reason": "undecodable"}),
        "acknowledged": ("lobar_receive_seconds_count", {}),
    }
    before = {key: sample(name, **labels) for key, (name, labels) in names.items()}
    dataset = cr()
    for _ in range(3):
        ingest.receive(arrive(stores, dataset), source=Source.UPLOAD)
    ingest.receive(arrive(stores, content=b"no"), source=Source.UPLOAD)
    after = {key: sample(name, **labels) for key, (name, labels) in names.items()}
    assert {key: after[key] - before[key] for key in names} == {
        "received": 1,
        "repeated": 2,
        "rejected": 1,
        "acknowledged": 3,
    }


def test_a_ledger_that_refuses_leaves_nothing_and_is_asked_again(broken: BrokenLedger) -> None:
    dataset = cr()
    with listening(broken.stores) as listener:
        with broken.refusing(), capture_logs() as logs:
            assert [listener.store(dataset) for _ in range(2)] == [OUT_OF_RESOURCES] * 2
            assert broken.stores.inbox() == []
            assert broken.stores.incoming() == []
            assert listener.notifications == []
        assert [each["reason"] for each in logs if each["event"] == "instance_rejected"] == [
            "out-of-resources",
            "out-of-resources",
        ]
        assert listener.store(dataset) == 0x0000
        listener.require_working()


def test_while_the_ledger_is_silent_no_bytes_pile_up(broken: BrokenLedger) -> None:
    """The spooled bytes stay: the commit may have succeeded although its response was lost."""
    with listening(broken.stores) as listener:
        with broken.silent():
            for _ in range(5):
                assert listener.store(cr()) == OUT_OF_RESOURCES
            assert len(broken.stores.inbox()) == 1
        listener.require_working()
    known = broken.stores.ledger.jobs.known
    assert broken.stores.spool.sweep(known, older_than_seconds=-1) == 1
    assert len(broken.stores.inbox()) == 1


class LosesAnswers:
    """A ledger that commits and then fails to say so, as a network does that breaks."""

    def __init__(self, stores: Stores) -> None:
        self._ledger = stores.ledger
        self.jobs = self
        self.exists = stores.ledger.jobs.exists

    def receive(self, instance: Instance, patient: Patient, sha256: Callable[[], str]) -> Receipt:
        self._ledger.jobs.receive(instance, patient, sha256)
        raise LedgerError("the connection was lost")


def test_a_commit_whose_response_was_lost_still_counts(stores: Stores) -> None:
    dataset = cr()
    ingest = Ingest(stores.spool, LosesAnswers(stores), lambda: None)  # type: ignore[arg-type]
    outcome = ingest.receive(arrive(stores, dataset), source=Source.UPLOAD)
    (job,) = stores.jobs_of(dataset.SOPInstanceUID)
    assert outcome == Receipt(job_id=job.id)
    assert stores.spool.inbox(job.id).is_file()


def test_a_spool_whose_disk_fails_refuses(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    dataset = cr()
    inbox = stores.inbox()
    with listening(stores) as listener:
        with monkeypatch.context() as broken_disk:
            broken_disk.setattr(os, "fsync", fail)
            assert listener.store(dataset) == OUT_OF_RESOURCES
        assert stores.inbox() == inbox
        assert stores.jobs_of(dataset.SOPInstanceUID) == []
        assert listener.store(dataset) == 0x0000


def test_uploads_may_be_of_any_sop_class(stores: Stores, ingest: Ingest) -> None:
    dataset = cr()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    receipt = ingest.receive(arrive(stores, dataset), source=Source.UPLOAD)
    assert isinstance(receipt, Receipt)


def test_a_door_that_is_drained_can_be_opened_again(stores: Stores) -> None:
    for _ in range(2):
        with listening(stores) as listener:
            assert isinstance(listener, RunningListener)
            listener.require_working()
