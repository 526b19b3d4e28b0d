"""The benchmark's senders, and what is preloaded into the receivers that it compares."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pydicom
import pytest
from bench.harness.radiographs import Radiograph, jpeg_2000, uncompressed
from bench.harness.senders import Association, StoreFailedError, paced, send_for
from bench.receivers.peers import Bare, StoreScp, compiled, peers
from peers.raw_scu import Sender
from peers.scripted_pacs import ScriptedPacs
from support.listener import Stores, listening
from support.system.programs import missing, need_program

# counts in its output what it is asked to sync, and comes after what is tested
SYNCS: Final = """
#include <unistd.h>
int fsync(int descriptor) { return write(1, "synced\\n", 7) == 7 ? 0 : -1; }
"""
WRITES_A_FILE: Final = """
import ctypes, sys
c = ctypes.CDLL(None)
c.fopen.restype = ctypes.c_void_p
c.fclose.argtypes = [ctypes.c_void_p]
c.fclose(c.fopen(sys.argv[1].encode(), sys.argv[2].encode()))
"""
ACCEPTS: Final = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
accepted, _ = server.accept()
print(*(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in (accepted, client)))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_program("gcc")
    found = compiled(tmp_path_factory.mktemp("durable"))
    if found is None:
        missing("gcc cannot compile: install the Debian package libc6-dev")
    return found


def output_of(program: str, *arguments: str | Path, variables: list[str]) -> str:
    command = ["env", *variables, sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_accepted_connections_have_no_delay(library: Path) -> None:
    assert output_of(ACCEPTS, variables=[]).split() == ["0", "0"]
    assert output_of(ACCEPTS, variables=[f"LD_PRELOAD={library}"]).split() == ["1", "0"]


@pytest.mark.parametrize(("mode", "synced"), [("w", "synced\n"), ("r", "")])
def test_a_written_file_is_synced_before_it_is_closed(
    library: Path, tmp_path: Path, mode: str, synced: str
) -> None:
    source, syncs, file = (tmp_path / name for name in ("syncs.c", "syncs.so", "file"))
    source.write_text(SYNCS)
    file.touch()
    compiler = need_program("gcc")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", syncs, source], check=True)
    variables = [f"LD_PRELOAD={library} {syncs}", "LOBAR_BENCH_FSYNC=1"]
    assert output_of(WRITES_A_FILE, file, mode, variables=variables) == synced
    assert output_of(WRITES_A_FILE, file, mode, variables=variables[:1]) == ""


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[StoreScp]:
    need_program("storescp")
    server = StoreScp(tmp_path, compiled(tmp_path))
    server.start()
    yield server
    server.kill()


@pytest.mark.dcmtk
@pytest.mark.parametrize("make", [uncompressed, jpeg_2000])
def test_what_is_sent_arrives_whole_under_uids_of_its_own(
    storescp: StoreScp, make: Callable[[], Radiograph]
) -> None:
    radiograph = make()
    sent = send_for(
        60, radiograph, storescp.port, associations=2, called=storescp.ae_title, at_most=3
    )
    received = [pydicom.dcmread(path) for path in storescp.folder.iterdir()]
    assert {each.SOPInstanceUID for each in received} == {uid for uid, _ in sent.answered}
    assert len({each.StudyInstanceUID for each in received}) == 3
    assert len({each.SeriesInstanceUID for each in received}) == 3
    for each in received:
        assert each.file_meta.TransferSyntaxUID == radiograph.transfer_syntax_uid
        assert each.PixelData == radiograph.dataset.PixelData
    storescp.clear()
    assert not list(storescp.folder.iterdir())


@pytest.mark.parametrize("make", [uncompressed, jpeg_2000])
def test_the_least_receiver_keeps_all_that_is_sent(
    tmp_path: Path, make: Callable[[], Radiograph]
) -> None:
    receiver, radiograph = Bare(tmp_path), make()
    receiver.start()
    try:
        sent = send_for(
            60, radiograph, receiver.port, associations=2, called=receiver.ae_title, at_most=3
        )
        kept = [path.read_bytes() for path in receiver.folder.iterdir()]
        with Sender(receiver.port) as sender:
            assert sender.echo() == 0
            sender.release()
    finally:
        receiver.kill()
    assert len(kept) == 3
    place = radiograph.data_set.index(b"\xe0\x7f\x10\x00")
    for uid, _ in sent.answered:
        (whole,) = (each for each in kept if uid.encode() in each)
        assert whole[place:] == radiograph.data_set[place:]


def test_the_id_of_a_message_is_not_taken_for_the_status() -> None:
    radiograph = uncompressed(64, 64)
    takes = [(str(radiograph.dataset.SOPClassUID), "1.2.840.10008.1.2.1")]
    with ScriptedPacs(takes=takes).running() as pacs:
        link = Association(pacs.port, radiograph, called=pacs.ae_title)
        link._message_id = 0x0208  # the next one is encoded as the tag of a status is
        uid = link.store()
        link.close()
    assert uid.startswith("2.25.")


def test_lobar_takes_an_association_for_each_image(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    with listening(stores) as listener:
        radiograph = uncompressed(64, 64)
        sent = send_for(60, radiograph, listener.port, associations=2, one_each=True, at_most=5)
    assert len(sent.answered) == 5
    assert all(len(stores.jobs_of(uid)) == 1 for uid, _ in sent.answered)
    assert sent.rate > 0


def test_a_radiograph_that_is_refused_ends_the_measurement() -> None:
    takes = [(str(uncompressed(64, 64).dataset.SOPClassUID), "1.2.840.10008.1.2.1")]
    with (
        ScriptedPacs(takes=takes, answer=lambda _: 0xA700).running() as pacs,
        pytest.raises(StoreFailedError, match="00a7"),
    ):
        send_for(
            60, uncompressed(64, 64), pacs.port, called=pacs.ae_title, associations=2, at_most=2
        )


def test_a_context_that_is_rejected_is_said() -> None:
    with (
        ScriptedPacs().running() as pacs,
        pytest.raises(StoreFailedError, match="context is rejected"),
    ):
        send_for(
            60, uncompressed(64, 64), pacs.port, called=pacs.ae_title, associations=1, at_most=1
        )


def test_paced_instances_are_sent_each_at_its_time() -> None:
    stored: list[str] = []

    def store() -> str:
        stored.append(str(len(stored)))
        return stored[-1]

    answered = paced(1000, 4, store)
    assert [uid for uid, _ in answered] == ["0", "1", "2", "3"]
    assert [at for _, at in answered] == sorted(at for _, at in answered)


def test_without_a_compiler_the_page_says_what_the_peers_lack(tmp_path: Path) -> None:
    _, left_out = peers(tmp_path, None)
    assert any("no C compiler" in each for each in left_out)
