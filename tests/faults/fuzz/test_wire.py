"""A listener under hostile senders: it answers C-ECHO after each hundred, and holds no more after.

`make fuzz SECONDS=600 SEED=1` goes on for longer; a failure names the seed and the number.
"""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from peers.raw_scu import VERIFICATION, Sender, data_set_bytes
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from support.fuzz.conversations import CR, KINDS, conversation
from support.fuzz.holdings import MEBIBYTE, Holdings, growth
from support.fuzz.length import Length
from support.lobar_process import wait_for
from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server
from synthetic.objects import make_cr

from service.settings import environment_without_settings
from service.storage.ledger import Ledger

ECHO_EVERY: Final = 100
ANSWER_SECONDS: Final = 5.0
WARM_UP: Final = 100  # conversations before the first look at what the process holds
GROWTH: Final = 24 * MEBIBYTE  # of the allocator; a leak of a message each would be twice that


class ListenerProcess:
    """`lobar listener` in a process of its own, without a Redis: receiving needs none."""

    def __init__(self, folder: Path) -> None:
        self.state_dir = folder / "state"
        self.port = free_port()
        (folder / "lobar.toml").touch()
        self.environment = environment_without_settings() | {
            "LOBAR_CONFIG": str(folder / "lobar.toml"),
            "LOBAR_STATE_DIR": str(self.state_dir),
            "LOBAR_DICOM__PORT": str(self.port),
            "LOBAR_SPOOL__RESERVE_BYTES": "0",
            "LOBAR_REDIS__URL": f"redis://{LOOPBACK}:{free_port()}/0",
        }
        prefix = ["env", *(f"{name}={value}" for name, value in self.environment.items())]
        self.server = Server(
            [*prefix, sys.executable, "-P", "-m", "service.cli", "listener"],
            log=folder / "listener.log",
            answers=lambda: accepts_connections(self.port),
        )

    def events(self) -> list[dict[str, object]]:
        """Read the log."""
        lines = self.server.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListenerProcess]:
    running = ListenerProcess(tmp_path_factory.mktemp("fuzz"))
    running.server.start()
    yield running
    running.server.kill()


def say(port: int, pieces: tuple[bytes, ...]) -> None:
    """Say a conversation, and read what comes until the peer closes.

    Raises:
        TimeoutError: the peer neither closes nor says anything.
    """
    with socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                continue
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise


def echo(port: int) -> int:
    with Sender(port, ((VERIFICATION, str(ImplicitVRLittleEndian)),)) as sender:
        status = sender.echo()
        sender.release()
    return status


def test_the_same_seed_says_the_same_and_every_kind_is_said() -> None:
    said = [conversation(7, number) for number in range(60)]
    assert said == [conversation(7, number) for number in range(60)]
    assert said != [conversation(8, number) for number in range(60)]
    assert {each.kind for each in said} == set(KINDS)


def test_no_conversation_ends_or_holds_up_the_listener(
    listener: ListenerProcess, length: Length
) -> None:
    pid = listener.server.pid
    before = None
    for number in length.numbers(ordinary=600):
        spoken = conversation(length.seed, number)
        try:
            say(listener.port, spoken.pieces)
        except TimeoutError:
            pytest.fail(f"silent for {ANSWER_SECONDS} s: {spoken.kind}, {length.replay(number)}")
        if number % ECHO_EVERY == 0:
            assert echo(listener.port) == 0, length.replay(number)
            assert listener.server.pid == pid
            assert listener.server.running, length.replay(number)
        if number == WARM_UP:
            before = Holdings.of(pid)
    assert before is not None
    wait_for(lambda: not list((listener.state_dir / "spool" / "incoming").iterdir()))
    wait_for(lambda: not growth(before, Holdings.of(pid), bytes_allowed=GROWTH), seconds=30)


def test_afterwards_an_instance_is_received_and_no_fault_was_unforeseen(
    listener: ListenerProcess,
) -> None:
    dataset = make_cr(rows=8, columns=8)
    with Sender(listener.port, ((CR, str(ExplicitVRLittleEndian)),)) as sender:
        assert sender.store(CR, dataset.SOPInstanceUID, data_set_bytes(dataset)) == 0
        sender.release()
    unforeseen = [
        each
        for each in listener.events()
        if each["level"] in {"error", "critical"} or "exception" in each
    ]
    assert unforeseen == []


def test_each_file_that_was_kept_has_its_job(listener: ListenerProcess) -> None:
    ledger = Ledger(f"sqlite:///{listener.state_dir}/ledger.sqlite3")
    try:
        counts = ledger.queries.job_counts()
        files = list((listener.state_dir / "spool" / "inbox").glob("??/*.dcm"))
        assert counts.balance == 0
        assert len(files) == counts.received > 0
        assert all(ledger.jobs.exists(file.stem) for file in files)
    finally:
        ledger.close()


def test_growth_is_seen() -> None:
    before = Holdings(resident_bytes=100 * MEBIBYTE, descriptors=20, threads=5)
    leaking = Holdings(resident_bytes=140 * MEBIBYTE, descriptors=320, threads=105)
    assert growth(before, before, bytes_allowed=GROWTH) == []
    assert growth(before, leaking, bytes_allowed=GROWTH) == [
        "40 MiB more of memory",
        "300 more descriptors",
        "100 more threads",
    ]
