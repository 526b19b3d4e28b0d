"""Who may associate and for what; what a peer that misbehaves can do: nothing to anyone else."""

import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
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
from support.listener import CR, CR_EXPLICIT, Door
from synthetic.objects import make_cr

Listen = Callable[..., AbstractContextManager[Door]]

PERMANENT, TRANSIENT = 1, 2
CALLING_AE_TITLE = (PERMANENT, 1, 3)  # PS3.8 table 9-21
CALLED_AE_TITLE = (PERMANENT, 1, 7)
LOCAL_LIMIT = (TRANSIENT, 3, 2)
PATIENCE = 60


@pytest.fixture
def impatient(listen: Listen) -> Iterator[Door]:
    """A listener that waits for nobody longer than half a second."""
    with listen(acse_seconds=0.5, network_seconds=0.5) as door:
        yield door


def rejection_of(door: Door, **names: str) -> tuple[int, int, int]:
    with pytest.raises(Rejected) as rejected:
        door.sender(**names)
    return rejected.value.why


def connect(door: Door) -> socket.socket:
    return socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE)


def is_closed(connection: socket.socket) -> bool:
    """Read to the end, which comes if the peer closes; times out if it does not."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def ended(door: Door) -> bool:
    """Wait until no association and no connection occupies the listener."""
    wait_until(lambda: not door.listener._started().associations())
    return True


def open_now() -> float | None:
    return REGISTRY.get_sample_value("lobar_associations_open")


def wait_until(becomes_true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not becomes_true():
        assert time.monotonic() < until
        time.sleep(0.01)


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("lobar_associations_total", {"outcome": outcome}) or 0.0


def test_on_loopback_anyone_may_call_unless_somebody_is_named(door: Door) -> None:
    with door.sender(calling="ANYONE", called="WHOEVER") as sender:
        sender.release()


def test_a_calling_ae_title_that_is_not_listed_is_rejected(listen: Listen) -> None:
    with listen(allowed_calling_ae_titles=("PACS", "CR ROOM 2")) as door:
        with capture_logs() as logs:
            assert rejection_of(door, calling="STRANGER") == CALLING_AE_TITLE
            assert ended(door)
        (event,) = [each for each in logs if each["event"] == "association_rejected"]
        assert event["reason"] == "calling-ae-title-not-recognised"
        assert "STRANGER" not in str(logs)
        for known in ("PACS", "CR ROOM 2"):
            with door.sender(calling=known) as sender:
                sender.release()


@pytest.mark.dcmtk
def test_dcmtk_is_told_that_its_title_is_not_recognised(
    listen: Listen, program: Callable[[str], Path]
) -> None:
    with listen(allowed_calling_ae_titles=("PACS",)) as door:
        command = [program("echoscu"), "127.0.0.1", str(door.port), "--aetitle"]
        refused = subprocess.run([*command, "OTHER"], check=False, capture_output=True, text=True)
        taken = subprocess.run([*command, "PACS"], check=False, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stderr
    assert taken.returncode == 0


def test_anyone_may_call_where_that_was_allowed(listen: Listen) -> None:
    with (
        listen(allowed_calling_ae_titles=("PACS",), allow_any_calling_ae_title=True) as door,
        door.sender(calling="ANYONE") as sender,
    ):
        sender.release()


def test_another_called_ae_title_is_rejected_where_ours_is_required(listen: Listen) -> None:
    with listen(require_called_ae_title=True, ae_title="LOBAR") as door:
        assert rejection_of(door, called="OTHER") == CALLED_AE_TITLE
        with door.sender(called="LOBAR") as sender:
            sender.release()


def test_only_what_is_supported_is_accepted(door: Door) -> None:
    contexts = (
        (CR, ExplicitVRLittleEndian),
        (CTImageStorage, ExplicitVRLittleEndian),
        (ComprehensiveSRStorage, ExplicitVRLittleEndian),
        (CR, JPEG2000Lossless),
        (CR, ExplicitVRBigEndian),
        (CR, MPEG2MPML),
        (VERIFICATION, ImplicitVRLittleEndian),
    )
    with door.sender(contexts) as sender:
        assert sender.accepted == {
            1: ExplicitVRLittleEndian,
            5: ExplicitVRLittleEndian,  # a report, which comes along with its study
            7: JPEG2000Lossless,
            13: ImplicitVRLittleEndian,
        }
        sender.release()


def test_nothing_supported_is_an_association_without_contexts(door: Door) -> None:
    with door.sender(((CTImageStorage, ExplicitVRLittleEndian),)) as sender:
        assert sender.accepted == {}
        sender.release()
    door.require_working()


@pytest.mark.dcmtk
def test_dcmtk_is_told_that_a_sop_class_is_not_supported(
    door: Door, dcmtk_store: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    dataset = make_cr(rows=8, columns=8)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    assert dcmtk_store(door.port, "LOBAR", [tmp_path / "ct.dcm"]).returncode != 0
    door.require_working()


def test_one_association_too_many_is_to_come_again(listen: Listen) -> None:
    with listen(maximum_associations=2) as door:
        with door.sender() as first, door.sender() as second:
            assert rejection_of(door) == LOCAL_LIMIT
            first.release()
            second.release()
        assert ended(door)
        door.require_working()


def test_connections_beyond_all_bounds_are_closed_at_once(listen: Listen) -> None:
    with listen(maximum_associations=2) as door:
        with ExitStack() as connections:
            server = door.listener._started()
            for number in range(1, 5):
                connections.enter_context(connect(door))
                wait_until(lambda: len(server.associations()) == number)  # noqa: B023
            one_more = connections.enter_context(connect(door))
            assert is_closed(one_more)
        assert ended(door)
        door.require_working()


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
def test_who_connects_and_falls_silent_is_closed(impatient: Door, said: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(said)
        assert is_closed(connection)
    assert ended(impatient)
    impatient.require_working()


def test_who_drips_is_closed(impatient: Door) -> None:
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
        assert is_closed(connection)
        stopped.set()
        dripping.join()
    assert ended(impatient)


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
def test_garbage_ends_the_connection_and_nothing_else(impatient: Door, said: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        assert is_closed(connection)
    assert ended(impatient)
    impatient.require_working()


def test_a_load_balancers_probe_occupies_nothing(listen: Listen) -> None:
    with listen() as door:
        for _ in range(20):
            connect(door).close()
        assert ended(door)
        door.require_working()


def test_who_falls_silent_in_an_association_is_aborted(impatient: Door) -> None:
    with impatient.sender() as sender:
        assert sender.is_closed_upon()
    assert ended(impatient)
    impatient.require_working()


def test_a_slow_disk_of_ours_is_not_held_against_the_peer(
    impatient: Door, monkeypatch: pytest.MonkeyPatch
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


def wait_for_half(door: Door) -> None:
    """See that the half that was sent lies in `incoming`, so that its removal can be seen."""
    wait_until(lambda: any(each.stat().st_size > 100_000 for each in door.memory.incoming()))


@pytest.mark.parametrize("how", ["abort", "close", "reset", "silence"])
def test_an_association_that_ends_in_mid_transfer_leaves_nothing(impatient: Door, how: str) -> None:
    inbox = impatient.memory.inbox()
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
    assert ended(impatient)
    assert impatient.memory.incoming() == []
    assert impatient.memory.inbox() == inbox
    impatient.require_working()


def test_a_release_in_mid_transfer_leaves_nothing(door: Door) -> None:
    with door.sender() as sender:
        half_sent(sender)
        sender.say(pdu(RELEASE_RQ, b"\0" * 4))
        with suppress(Closed):
            sender.read_pdu()
    assert ended(door)
    assert door.memory.incoming() == []
    door.require_working()


def test_associations_are_counted_by_how_they_ended(door: Door, listen: Listen) -> None:
    assert ended(door)
    before = {outcome: counted(outcome) for outcome in ("released", "aborted", "rejected")}
    with listen(require_called_ae_title=True) as counting:
        with counting.sender() as sender:
            wait_until(lambda: open_now() == 1)
            sender.release()
        with counting.sender() as sender:
            sender.abort()
        rejection_of(counting, called="OTHER")
        connect(counting).close()
        assert ended(counting)
    assert open_now() == 0
    assert {outcome: counted(outcome) - was for outcome, was in before.items()} == {
        "released": 1,
        "aborted": 1,
        "rejected": 1,
    }


def test_our_end_of_a_connection_sends_at_once(door: Door) -> None:
    with door.sender() as sender:
        (association,) = door.listener._started().associations()
        assert association.dul.socket is not None
        ours = association.dul.socket.socket
        assert ours is not None
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        sender.release()


def test_associations_leave_no_thread_and_no_descriptor(listen: Listen) -> None:
    with listen() as door:
        door.require_working()
        assert ended(door)
        threads, descriptors = threading.active_count(), open_descriptors()
        for _ in range(5):
            door.require_working()
            connect(door).close()
        assert ended(door)
        wait_until(lambda: threading.active_count() <= threads)
        wait_until(lambda: open_descriptors() <= descriptors)


def open_descriptors() -> int:
    """Count the sockets and wake-up calls; the ledger's connections come and go by themselves."""
    names = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(str(each.readlink()))
    return sum("socket:" in name or "eventfd" in name for name in names)
