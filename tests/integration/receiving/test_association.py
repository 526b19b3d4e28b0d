"""Tests of negotiation, limits, and peers that misbehave without affecting others."""

import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from peers.raw_scu import (
    ASSOCIATE_RQ,
    RELEASE_RQ,
    VERIFICATION,
    Closed,
    Rejected,
    Sender,
    associate_rq,
    data_set_bytes,
    pdu,
)
from prometheus_client import REGISTRY
from pydicom.uid import (
    MPEG2MPML,
    ComprehensiveSRStorage,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from structlog.testing import capture_logs
from support.listener import CR, CR_EXPLICIT, RunningListener
from synthetic.objects import make_cr

Listen = Callable[..., AbstractContextManager[RunningListener]]

PERMANENT, TRANSIENT = 1, 2
CALLING_AE_TITLE = (PERMANENT, 1, 3)  # PS3.8 table 9-21
CALLED_AE_TITLE = (PERMANENT, 1, 7)
LOCAL_LIMIT = (TRANSIENT, 3, 2)
PATIENCE = 60


@pytest.fixture
def impatient(listen: Listen) -> Iterator[RunningListener]:
    """A listener with timeouts of half a second."""
    with listen(acse_seconds=0.5, network_seconds=0.5) as listener:
        yield listener


def rejection_of(listener: RunningListener, **names: str) -> tuple[int, int, int]:
    with pytest.raises(Rejected) as rejected:
        listener.sender(**names)
    return rejected.value.why


def connect(listener: RunningListener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=PATIENCE)


def wait_until_closed(connection: socket.socket) -> None:
    """Read until the peer closes the connection; raise TimeoutError if it does not."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass


def wait_until_free(listener: RunningListener) -> None:
    """Wait until no association and no connection occupies the listener; fail if one stays."""
    wait_until(listener.is_free)


def open_now() -> float | None:
    return REGISTRY.get_sample_value("lobar_associations_open")


def wait_until(becomes_true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not becomes_true():
        assert time.monotonic() < until
        time.sleep(0.01)


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("lobar_associations_total", {"outcome": outcome}) or 0.0


def test_on_loopback_any_calling_ae_title_is_accepted_without_a_list(
    listener: RunningListener,
) -> None:
    with listener.sender(calling="ANYONE", called="WHOEVER") as sender:
        sender.release()


def test_a_calling_ae_title_that_is_not_listed_is_rejected(listen: Listen) -> None:
    with listen(allowed_calling_ae_titles=("PACS", "CR ROOM 2")) as listener:
        with capture_logs() as logs:
            assert rejection_of(listener, calling="STRANGER") == CALLING_AE_TITLE
            wait_until_free(listener)
        (event,) = [each for each in logs if each["event"] == "association_rejected"]
        assert event["reason"] == "calling-ae-title-not-recognised"
        assert "STRANGER" not in str(logs)
        for known in ("PACS", "CR ROOM 2"):
            with listener.sender(calling=known) as sender:
                sender.release()


@pytest.mark.dcmtk
def test_dcmtk_gets_the_reason_that_its_title_is_not_recognised(
    listen: Listen, program: Callable[[str], Path]
) -> None:
    with listen(allowed_calling_ae_titles=("PACS",)) as listener:
        command: list[str | Path] = [
            program("echoscu"),
            "127.0.0.1",
            str(listener.port),
            "--aetitle",
        ]
        refused = subprocess.run([*command, "OTHER"], check=False, capture_output=True, text=True)
        taken = subprocess.run([*command, "PACS"], check=False, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stderr
    assert taken.returncode == 0


def test_any_calling_ae_title_is_accepted_where_that_is_allowed(listen: Listen) -> None:
    with (
        listen(allowed_calling_ae_titles=("PACS",), allow_any_calling_ae_title=True) as listener,
        listener.sender(calling="ANYONE") as sender,
    ):
        sender.release()


def test_another_called_ae_title_is_rejected_where_the_configured_one_is_required(
    listen: Listen,
) -> None:
    with listen(require_called_ae_title=True, ae_title="LOBAR") as listener:
        assert rejection_of(listener, called="OTHER") == CALLED_AE_TITLE
        with listener.sender(called="LOBAR") as sender:
            sender.release()


def test_only_what_is_supported_is_accepted(listener: RunningListener) -> None:
    contexts = (
        (CR, ExplicitVRLittleEndian),
        (CTImageStorage, ExplicitVRLittleEndian),
        (ComprehensiveSRStorage, ExplicitVRLittleEndian),
        (CR, JPEG2000Lossless),
        (CR, ExplicitVRBigEndian),
        (CR, MPEG2MPML),
        (VERIFICATION, ImplicitVRLittleEndian),
    )
    with listener.sender(contexts) as sender:
        assert sender.accepted == {
            1: ExplicitVRLittleEndian,
            5: ExplicitVRLittleEndian,  # a report, which is sent with its study
            7: JPEG2000Lossless,
            13: ImplicitVRLittleEndian,
        }
        sender.release()


def test_nothing_supported_is_an_association_without_contexts(listener: RunningListener) -> None:
    with listener.sender(((CTImageStorage, ExplicitVRLittleEndian),)) as sender:
        assert sender.accepted == {}
        sender.release()
    listener.require_working()


@pytest.mark.dcmtk
def test_dcmtk_gets_the_reason_that_a_sop_class_is_not_supported(
    listener: RunningListener,
    dcmtk_store: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    dataset = make_cr(rows=8, columns=8)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    assert dcmtk_store(listener.port, "LOBAR", [tmp_path / "ct.dcm"]).returncode != 0
    listener.require_working()


def test_an_association_beyond_the_limit_is_rejected_as_transient(listen: Listen) -> None:
    with listen(maximum_associations=2) as listener:
        with listener.sender() as first, listener.sender() as second:
            assert rejection_of(listener) == LOCAL_LIMIT
            first.release()
            second.release()
        wait_until_free(listener)
        listener.require_working()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\1",
        pdu(ASSOCIATE_RQ, b"")[:5],
        struct.pack(">BxL", ASSOCIATE_RQ, 1000) + b"\0" * 10,
        associate_rq(CR_EXPLICIT, calling="TEST", called="LOBAR")[:-1],
    ],
    ids=["nothing", "one byte", "half a header", "less than it claims", "all but one byte"],
)
def test_a_silent_connection_is_closed(impatient: RunningListener, said: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(said)
        wait_until_closed(connection)
    wait_until_free(impatient)
    impatient.require_working()


def test_a_connection_that_sends_too_slowly_is_closed(impatient: RunningListener) -> None:
    request = associate_rq(CR_EXPLICIT, calling="TEST", called="LOBAR")
    with connect(impatient) as connection:
        stopped = threading.Event()

        def drip() -> None:
            for byte in request * 100:
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    return
                if stopped.wait(0.1):
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        wait_until_closed(connection)
        stopped.set()
        dripping.join()
    wait_until_free(impatient)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: lobar\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        b"\0" * 1000,
        b"\xff" * 1000,
        struct.pack(">BxL", ASSOCIATE_RQ, 0xFFFFFFFF) + b"\0" * 1000,
        struct.pack(">BxL", ASSOCIATE_RQ, 100) + b"\0" * 100,
        pdu(ASSOCIATE_RQ, struct.pack(">Hxx64x", 1) + b"\x20" * 300),
        pdu(ASSOCIATE_RQ, b""),
        pdu(2, b"\0" * 100),
        pdu(4, b"\0" * 100),
        pdu(RELEASE_RQ, b"\0" * 4),
        associate_rq(CR_EXPLICIT, calling="\x1b[31m", called="LOBAR"),
        associate_rq(CR_EXPLICIT, calling=" ", called=" "),
        associate_rq((("../../etc", "passwd"),), calling="TEST", called="LOBAR"),
        associate_rq((("1" * 200, "2" * 200),), calling="TEST", called="LOBAR"),
        associate_rq(CR_EXPLICIT * 200, calling="TEST", called="LOBAR"),
    ],
    ids=[
        *("HTTP", "TLS", "zeros", "ones", "4 GiB", "an empty request", "broken items", "no body"),
        *("an acceptance", "data first", "a release first", "an escape", "blank titles"),
        *("a path for a context", "long UIDs", "400 contexts"),
    ],
)
def test_garbage_ends_the_connection_and_nothing_else(
    impatient: RunningListener, said: bytes
) -> None:
    with connect(impatient) as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        wait_until_closed(connection)
    wait_until_free(impatient)
    impatient.require_working()


def test_a_load_balancers_probe_occupies_nothing(listen: Listen) -> None:
    with listen() as listener:
        for _ in range(20):
            connect(listener).close()
        wait_until_free(listener)
        listener.require_working()


def test_a_silent_association_is_aborted(impatient: RunningListener) -> None:
    with impatient.sender() as sender:
        assert sender.is_closed_upon()
    wait_until_free(impatient)
    impatient.require_working()


def test_a_slow_disk_does_not_count_as_silence_of_the_peer(
    impatient: RunningListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(1.5)
        fsync(descriptor)

    dataset = make_cr(rows=16, columns=16)
    with impatient.sender() as sender:
        with monkeypatch.context() as slowed:
            slowed.setattr(os, "fsync", slow)
            status = sender.store(CR, dataset.SOPInstanceUID, data_set_bytes(dataset))
        assert status == 0x0000
        sender.release()


def half_sent(sender: Sender) -> None:
    dataset = make_cr(rows=512, columns=512)
    sent = data_set_bytes(dataset)
    sender.begin_store(CR, dataset.SOPInstanceUID)
    sender.send_fragments(1, sent[: len(sent) // 2], is_command=False, is_whole=False)


def wait_for_half(listener: RunningListener) -> None:
    """Wait until the half that was sent is in `incoming`, so that its removal can be observed."""
    wait_until(lambda: any(each.stat().st_size > 100_000 for each in listener.stores.incoming()))


@pytest.mark.parametrize("how", ["abort", "close", "reset", "silence"])
def test_an_association_that_ends_in_mid_transfer_leaves_nothing(
    impatient: RunningListener, how: str
) -> None:
    inbox = impatient.stores.inbox()
    with impatient.sender() as sender:
        half_sent(sender)
        wait_for_half(impatient)
        if how == "abort":
            sender.abort()
        elif how == "reset":
            linger = struct.pack("ii", 1, 0)
            sender.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif how == "silence":
            assert sender.is_closed_upon()
    wait_until_free(impatient)
    assert impatient.stores.incoming() == []
    assert impatient.stores.inbox() == inbox
    impatient.require_working()


def test_a_release_in_mid_transfer_leaves_nothing(listener: RunningListener) -> None:
    with listener.sender() as sender:
        half_sent(sender)
        sender.say(pdu(RELEASE_RQ, b"\0" * 4))
        with suppress(Closed):
            sender.read_pdu()
    wait_until_free(listener)
    assert listener.stores.incoming() == []
    listener.require_working()


def test_associations_are_counted_by_how_they_ended(
    listener: RunningListener, listen: Listen
) -> None:
    wait_until_free(listener)
    before = {outcome: counted(outcome) for outcome in ("released", "aborted", "rejected")}
    with listen(require_called_ae_title=True) as counting:
        with counting.sender() as sender:
            wait_until(lambda: open_now() == 1)
            sender.release()
        with counting.sender() as sender:
            sender.abort()
        rejection_of(counting, called="OTHER")
        connect(counting).close()
        wait_until_free(counting)
    assert open_now() == 0
    assert {outcome: counted(outcome) - was for outcome, was in before.items()} == {
        "released": 1,
        "aborted": 1,
        "rejected": 1,
    }


def test_the_listeners_socket_sends_at_once(listener: RunningListener) -> None:
    with listener.sender() as sender:
        (association,) = listener.associations()
        assert association.dul.socket is not None
        ours = association.dul.socket.socket
        assert ours is not None
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        sender.release()


def test_associations_leave_no_thread_and_no_descriptor(listen: Listen) -> None:
    with listen() as listener:
        listener.require_working()
        wait_until_free(listener)
        threads, descriptors = threading.active_count(), open_descriptors()
        for _ in range(5):
            listener.require_working()
            connect(listener).close()
        wait_until_free(listener)
        wait_until(lambda: threading.active_count() <= threads)
        wait_until(lambda: open_descriptors() <= descriptors)


def open_descriptors() -> int:
    """Count sockets and event descriptors; the ledger's connections vary independently."""
    names = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(str(each.readlink()))
    return sum("socket:" in name or "eventfd" in name for name in names)
