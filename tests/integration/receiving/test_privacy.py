"""Tests that no log names a patient, a UID or an unknown AE title, the libraries' included."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from peers.raw_scu import data_set_bytes
from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs
from support.listener import CR, RunningListener
from synthetic.objects import make_cr

Listen = Callable[..., AbstractContextManager[RunningListener]]


def test_the_log_tells_of_jobs_not_of_patients(
    listen: Listen, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("pynetdicom").setLevel(logging.DEBUG)
    dataset = make_cr(rows=16, columns=16, patient_name="Grimaldi^Ottavia")
    sent = data_set_bytes(dataset)
    with (
        capture_logs() as logs,
        listen() as listener,
        listener.sender(calling="STRANGER") as sender,
    ):
        assert sender.store(CR, dataset.SOPInstanceUID, sent) == 0x0000
        assert sender.store(CR, dataset.SOPInstanceUID, sent[:-100]) == 0xC000
        assert sender.store(CR, "../../etc/passwd", sent) == 0xA900
        assert sender.store(CR, "1.2.3", sent) == 0xA900
        sender.begin_store(CR, dataset.SOPInstanceUID, context_id=77)
        assert sender.is_closed_upon()
    captured = capfd.readouterr()
    everything = f"{logs} {caplog.text} {captured.out} {captured.err}"
    for secret in (
        *("Grimaldi", "Ottavia", "TEST-1", "TEST-ACC-1", "etc/passwd", "STRANGER"),
        *(dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID),
    ):
        assert secret not in everything
    received, *rejected = [each for each in logs if each["event"].startswith("instance_")]
    (job,) = listener.stores.jobs_of(dataset.SOPInstanceUID)
    assert received["job_id"] == job.id
    assert [(each["reason"], each["status"]) for each in rejected] == [
        ("truncated", "0xC000"),
        ("invalid-identifier", "0xA900"),
        ("sop-instance-mismatch", "0xA900"),
    ]


def test_the_patient_is_in_the_ledger_and_nowhere_else(
    listen: Listen, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    dataset = make_cr(rows=16, columns=16, patient_name="Grimaldi^Öttavia", charset="ISO_IR 192")
    odd = make_cr(rows=16, columns=16, patient_name="Grimaldi^Odd")
    odd.PatientID = "GEHEIM-7"
    unknown = (
        data_set_bytes(odd).replace(b"ISO_IR 192", b"ISO_IR 999").replace(b"^Odd", b"\x1b\xffdd")
    )
    with capture_logs() as logs, listen() as listener, listener.sender() as sender:
        for each, sent in ((dataset, data_set_bytes(dataset)), (odd, unknown)):
            assert sender.store(CR, each.SOPInstanceUID, sent) == 0x0000
    captured = capfd.readouterr()
    metrics = generate_latest(REGISTRY).decode()
    everything = f"{logs} {caplog.text} {captured.out} {captured.err} {metrics}".casefold()
    for secret in ("grimaldi", "öttavia", "geheim-7", "test-1", "test-acc-1", "iso_ir 999"):
        assert secret not in everything
    assert set(listener.notifications) == {"infer"}
    (job,) = listener.stores.jobs_of(dataset.SOPInstanceUID)
    patient = listener.stores.ledger.patients.of(job.id)
    assert patient is not None
    assert (patient.patient_name, patient.patient_id) == ("Grimaldi^Öttavia", "TEST-1")
    (job,) = listener.stores.jobs_of(odd.SOPInstanceUID)
    patient = listener.stores.ledger.patients.of(job.id)
    assert patient is not None
    assert patient.patient_name.startswith("Grimaldi")


def test_a_sender_that_is_listed_may_be_named(listen: Listen) -> None:
    dataset = make_cr(rows=16, columns=16)
    with (
        capture_logs() as logs,
        listen(allowed_calling_ae_titles=("CR ROOM 2",)) as listener,
        listener.sender(calling="CR ROOM 2") as sender,
    ):
        assert sender.store(CR, dataset.SOPInstanceUID, data_set_bytes(dataset)) == 0x0000
    (event,) = [each for each in logs if each["event"] == "instance_received"]
    assert event["calling_ae_title"] == "CR ROOM 2"


def test_pynetdicom_is_silent_even_where_all_may_speak(
    listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    with listen() as listener:
        assert not logging.getLogger("pynetdicom.acse").isEnabledFor(logging.CRITICAL)
        logging.getLogger("pynetdicom").critical("a data set")
        listener.require_working()
    assert "a data set" not in caplog.text
