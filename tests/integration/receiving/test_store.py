"""Tests of valid C-STOREs: each instance is kept as it was sent."""

import copy
import io
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pynetdicom._config
import pytest
from peers.raw_scu import Sender, data_set_bytes, p_data
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from pynetdicom import AE
from support.listener import CR, RunningListener
from synthetic.objects import encode, make_cr, make_dx, make_sc

from service.dicom.data_set_digest import digest_of
from service.dicom.implementation import IMPLEMENTATION_CLASS_UID
from service.dicom.reactor_pause import held, install
from service.dicom.sop_classes import DEFAULT_SOP_CLASSES, TRANSFER_SYNTAXES
from service.domain.job import JobState, Source

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
UNKNOWN_TO_DCMTK = (HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL)


def in_syntax(syntax: str) -> Dataset:
    eight_bits = syntax == JPEGBaseline8Bit
    return encode(make_sc() if eight_bits else make_cr(), syntax)


def saved(dataset: Dataset, folder: Path) -> Path:
    file = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return file


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda uid: UID(uid).keyword)
def test_every_transfer_syntax_is_kept_byte_for_byte(
    listener: RunningListener, syntax: str
) -> None:
    dataset = in_syntax(syntax)
    sent = data_set_bytes(dataset)
    assert listener.store(dataset) == 0x0000
    assert listener.kept_data_set(dataset.SOPInstanceUID) == sent
    (job,) = listener.stores.jobs_of(dataset.SOPInstanceUID)
    assert job.transfer_syntax_uid == syntax
    assert job.digest == digest_of(io.BytesIO(sent))
    assert job.size_bytes == len(sent)


@pytest.mark.parametrize("sop_class", DEFAULT_SOP_CLASSES, ids=lambda uid: UID(uid).keyword)
def test_every_sop_class_is_taken(listener: RunningListener, sop_class: str) -> None:
    dataset = make_dx(rows=16, columns=16)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    assert listener.store(dataset) == 0x0000


@pytest.mark.dcmtk
def test_dcmtk_stores_in_each_syntax_that_it_knows(
    listener: RunningListener,
    dcmtk_store: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    sent = [in_syntax(each) for each in TRANSFER_SYNTAXES if each not in UNKNOWN_TO_DCMTK]
    done = dcmtk_store(listener.port, "LOBAR", [saved(each, tmp_path) for each in sent])
    assert done.returncode == 0, done.stderr + done.stdout
    for dataset in sent:
        (job,) = listener.stores.jobs_of(dataset.SOPInstanceUID)
        kept = pydicom.dcmread(listener.stores.spool.inbox(job.id))
        assert job.transfer_syntax_uid == dataset.file_meta.TransferSyntaxUID
        assert kept.PixelData == dataset.PixelData
        assert (kept.PatientID, kept.StudyInstanceUID) == ("TEST-1", dataset.StudyInstanceUID)


@pytest.mark.dcmtk
def test_dcmtk_echoes(listener: RunningListener, program: Callable[[str], Path]) -> None:
    arguments = ["--repeat", "3", "127.0.0.1", str(listener.port)]
    done = subprocess.run([program("echoscu"), *arguments], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("syntax", UNKNOWN_TO_DCMTK, ids=lambda uid: uid.keyword)
def test_pynetdicom_stores_what_dcmtk_does_not_know(
    listener: RunningListener, syntax: UID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pynetdicom._config, "STORE_SEND_CHUNKED_DATASET", True)
    dataset = in_syntax(syntax)
    entity = AE("TEST")
    entity.add_requested_context(dataset.SOPClassUID, syntax)
    association = entity.associate("127.0.0.1", listener.port)
    assert association.is_established
    install(association)
    with held(association):
        assert association.send_c_store(saved(dataset, tmp_path)).Status == 0x0000
    association.release()
    assert listener.kept_data_set(dataset.SOPInstanceUID) == data_set_bytes(dataset)


def test_what_is_kept_is_a_part_10_file_written_by_lobar(listener: RunningListener) -> None:
    dataset = make_cr(rows=16, columns=16)
    listener.store(dataset)
    (job,) = listener.stores.jobs_of(dataset.SOPInstanceUID)
    kept = pydicom.dcmread(listener.stores.spool.inbox(job.id))
    assert kept.file_meta.MediaStorageSOPClassUID == CR
    assert kept.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert kept.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert kept == dataset


def test_the_ledger_knows_what_came_from_whom(listener: RunningListener) -> None:
    dataset = make_cr(rows=16, columns=16)
    with listener.sender(calling="MODALITY 1") as sender:
        sender.store(CR, dataset.SOPInstanceUID, data_set_bytes(dataset))
    (job,) = listener.stores.jobs_of(dataset.SOPInstanceUID)
    assert job.state is JobState.RECEIVED
    assert job.source is Source.DICOM
    assert job.calling_ae_title == "MODALITY 1"
    assert job.study_instance_uid == dataset.StudyInstanceUID
    assert job.series_instance_uid == dataset.SeriesInstanceUID


@pytest.mark.parametrize("fragment_bytes", [1, 2, 7, 511, 16378])
def test_fragments_may_have_any_size(listener: RunningListener, fragment_bytes: int) -> None:
    dataset = make_cr(rows=16, columns=16)
    sent = data_set_bytes(dataset)
    with listener.sender() as sender:
        status = sender.store(CR, dataset.SOPInstanceUID, sent, fragment_bytes=fragment_bytes)
    assert status == 0x0000
    assert listener.kept_data_set(dataset.SOPInstanceUID) == sent


def test_a_pdu_may_hold_several_fragments_and_empty_ones(listener: RunningListener) -> None:
    dataset = make_cr(rows=16, columns=16)
    sent = data_set_bytes(dataset)
    with listener.sender() as sender:
        sender.begin_store(CR, dataset.SOPInstanceUID)
        fragments = [(1, False, False, sent[:100]), (1, False, False, b"")]
        fragments += [(1, False, False, sent[100:]), (1, False, True, b"")]
        sender.say(p_data(fragments))
        assert sender.status() == 0x0000
    assert listener.kept_data_set(dataset.SOPInstanceUID) == sent


def test_a_pdu_longer_than_was_agreed_is_read_all_the_same(listener: RunningListener) -> None:
    dataset = make_cr(rows=1024, columns=1024)
    sent = data_set_bytes(dataset)
    with listener.sender() as sender:
        assert len(sent) > 10 * sender.longest_pdu
        status = sender.store(CR, dataset.SOPInstanceUID, sent, fragment_bytes=len(sent))
    assert status == 0x0000
    assert listener.kept_data_set(dataset.SOPInstanceUID) == sent


def test_the_agreed_pdu_is_the_one_that_was_configured(listener: RunningListener) -> None:
    with listener.sender() as sender:
        assert sender.longest_pdu == 128 * 1024


def test_many_instances_come_by_one_association(listener: RunningListener) -> None:
    datasets = [make_cr(rows=16, columns=16) for _ in range(10)]
    with listener.sender() as sender:
        for each in datasets:
            assert sender.store(CR, each.SOPInstanceUID, data_set_bytes(each)) == 0x0000
        sender.release()
    for each in datasets:
        assert listener.kept_data_set(each.SOPInstanceUID) == data_set_bytes(each)


def test_associations_do_not_mix_their_bytes(listener: RunningListener) -> None:
    datasets = [make_cr(rows=64 + number, columns=64) for number in range(12)]
    with ThreadPoolExecutor(6) as senders:
        assert set(senders.map(listener.store, datasets)) == {0x0000}
    for each in datasets:
        assert listener.kept_data_set(each.SOPInstanceUID) == data_set_bytes(each)


def test_the_workers_are_notified_once_for_each_new_instance(listener: RunningListener) -> None:
    before = len(listener.notifications)
    for _ in range(3):
        listener.store(make_cr(rows=16, columns=16))
    assert len(listener.notifications) == before + 3


def test_the_same_instance_again_is_one_job_and_one_file(listener: RunningListener) -> None:
    dataset = make_cr(rows=16, columns=16)
    assert listener.store(dataset) == 0x0000
    inbox, notifications = listener.stores.inbox(), len(listener.notifications)
    assert listener.store(dataset) == 0x0000
    assert len(listener.stores.jobs_of(dataset.SOPInstanceUID)) == 1
    assert listener.stores.inbox() == inbox
    assert len(listener.notifications) == notifications


def test_the_same_instance_by_several_associations_at_once_is_one_job(
    listener: RunningListener,
) -> None:
    dataset = make_cr(rows=16, columns=16)
    inbox = listener.stores.inbox()
    with ThreadPoolExecutor(6) as senders:
        assert set(senders.map(listener.store, [dataset] * 12)) == {0x0000}
    assert len(listener.stores.jobs_of(dataset.SOPInstanceUID)) == 1
    assert len(listener.stores.inbox()) == len(inbox) + 1


def test_the_same_uid_with_other_bytes_is_a_job_of_its_own(listener: RunningListener) -> None:
    first = make_cr(rows=16, columns=16)
    second = copy.deepcopy(first)
    second.StudyDescription = "corrected"
    assert listener.store(first) == listener.store(second) == 0x0000
    jobs = listener.stores.jobs_of(first.SOPInstanceUID)
    assert len(jobs) == 2
    assert {job.corrects for job in jobs} > {None}


def tolerated() -> dict[str, Dataset]:
    """Instances with faults that do not matter, or not to the listener."""
    cases = {
        "zero rows": make_cr(rows=16, columns=16),
        "one bit": make_cr(rows=16, columns=16),
        "32 bits": make_cr(rows=16, columns=16),
        "50,000 squared in ten bytes": make_cr(rows=16, columns=16),
        "no pixels": make_cr(rows=16, columns=16),
    }
    cases["zero rows"].Rows = 0
    cases["one bit"].BitsAllocated = 1
    cases["32 bits"].BitsAllocated = 32
    cases["50,000 squared in ten bytes"].Rows = 50_000
    cases["50,000 squared in ten bytes"].Columns = 50_000
    cases["50,000 squared in ten bytes"].PixelData = bytes(10)
    del cases["no pixels"].PixelData
    return cases


@pytest.mark.parametrize("what", tolerated())
def test_what_only_a_worker_can_judge_is_accepted(listener: RunningListener, what: str) -> None:
    dataset = tolerated()[what]
    assert listener.store(dataset) == 0x0000
    assert listener.kept_data_set(dataset.SOPInstanceUID) == data_set_bytes(dataset)


def with_element(dataset: Dataset, element: bytes, before: bytes) -> bytes:
    """Insert an element's bytes into a data set, before another element."""
    sent = data_set_bytes(dataset)
    at = sent.index(before)
    return sent[:at] + element + sent[at:]


def short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


CHARACTER_SETS = {
    "GB18030": (b"GB18030", "王^小东".encode("gb18030")),
    "ISO 2022": (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
    ),
    "unknown": (b"KLINGON ", b"K\xff\xfe^\x80"),
    "said to be ASCII and is not": (b"ISO_IR 6", "Müller^Jörg".encode("latin-1") + b" "),
    "binary": (b"\xff\x00\x1b\x07", b"\x00\xff\x1b\x00"),
}


@pytest.mark.parametrize("what", CHARACTER_SETS)
def test_a_character_set_does_not_matter_however_broken(
    listener: RunningListener, what: str
) -> None:
    character_set, name = CHARACTER_SETS[what]
    dataset = make_cr(rows=16, columns=16)
    del dataset.SpecificCharacterSet, dataset.PatientName
    first = data_set_bytes(dataset)[:4]
    sent = with_element(dataset, short(0x0008, 0x0005, b"CS", character_set), first)
    at = sent.index(struct.pack("<HH", 0x0010, 0x0020))
    sent = sent[:at] + short(0x0010, 0x0010, b"PN", name + b" " * (len(name) % 2)) + sent[at:]
    assert listener.store(dataset, sent) == 0x0000
    assert listener.kept_data_set(dataset.SOPInstanceUID) == sent


@pytest.mark.parametrize(
    "element",
    [
        short(0x0010, 0x0010, b"PN", b"N" * 200),
        short(0x0010, 0x0010, b"OB"[::-1], b"Doe^Jane"),
        short(0x0010, 0x0010, b"US", b"Doe^Jane"),
        short(0x0010, 0x0010, b"ZZ", b"Doe^Jane"),
        short(0x0010, 0x0030, b"DA", b"the first of May"),
        short(0x0010, 0x1010, b"AS", b"old "),
    ],
    ids=["a name of 200 letters", "no VR", "a wrong VR", "an unknown VR", "no date", "no age"],
)
def test_a_wrong_value_in_an_element_that_nobody_asks_for_is_kept(
    listener: RunningListener, element: bytes
) -> None:
    dataset = make_cr(rows=16, columns=16)
    del dataset.PatientName, dataset.PatientBirthDate
    sent = with_element(dataset, element, struct.pack("<HH", 0x0010, 0x0040))
    assert listener.store(dataset, sent) == 0x0000
    assert listener.kept_data_set(dataset.SOPInstanceUID) == sent


def test_a_uid_with_a_leading_zero_is_kept(listener: RunningListener) -> None:
    dataset = make_cr(rows=16, columns=16)
    sent = data_set_bytes(dataset)
    uid = dataset.StudyInstanceUID.encode()
    sent = sent.replace(uid, b"1.02" + uid[4:])
    assert listener.store(dataset, sent) == 0x0000


def test_a_sender_whose_pdus_are_tiny_is_answered_in_fragments(listener: RunningListener) -> None:
    dataset = make_cr(rows=16, columns=16)
    entity = AE("TEST")
    entity.maximum_pdu_size = 64
    entity.add_requested_context(CR, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", listener.port, max_pdu=64)
    install(association)
    with held(association):
        assert association.send_c_store(dataset).Status == 0x0000
    association.release()


def test_releasing_ends_an_association_and_the_listener_accepts_the_next(
    listener: RunningListener,
) -> None:
    for _ in range(3):
        with Sender(listener.port) as sender:
            assert sender.echo() == 0x0000
            sender.release()
    listener.require_working()
