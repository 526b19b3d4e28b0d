"""Writers of several threads and processes take turns, and none waits for one that is gone."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from service.storage.ledger.writing_turn import TurnTakenError, WritingTurn

HOLD: Final = """
import sys, time
from pathlib import Path
from service.storage.ledger.writing_turn import WritingTurn
with WritingTurn(1, Path(sys.argv[1])):
    print("taken", flush=True)
    sys.stdin.readline()
print("given", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3.turn"


@contextmanager
def another(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that has the turn until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_held(path: Path) -> bool:
    """Return whether some process has the turn."""
    fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.flock(fifo, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fifo)
    return False


def taken_after(turn: WritingTurn) -> float:
    """Take the turn and give it back; return the seconds that it was waited for."""
    began = time.monotonic()
    with turn:
        return time.monotonic() - began


def test_a_process_waits_until_the_other_ends_its_turn(path: Path) -> None:
    turn = WritingTurn(1, path)
    with another(path) as other:
        assert is_held(path)
        waiting = threading.Thread(target=taken_after, args=(turn,))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        waiting.join(10)
        assert not waiting.is_alive()
    assert not is_held(path)


def test_the_turn_of_a_process_that_is_killed_ends(path: Path) -> None:
    turn = WritingTurn(1, path)
    with another(path) as other:
        other.kill()
        other.wait()
        with turn:
            assert is_held(path)


def test_a_process_that_is_stopped_is_not_waited_for(path: Path) -> None:
    turn = WritingTurn(1, path)
    with another(path) as other:
        other.send_signal(signal.SIGSTOP)
        with turn:
            assert turn._is_ours is False
        assert is_held(path)  # still by the other
        other.send_signal(signal.SIGCONT)


def test_what_was_said_while_nobody_waited_lets_nobody_go_on(path: Path) -> None:
    turn = WritingTurn(1, path)
    for _ in range(70_000):  # more words than a FIFO holds
        with turn:
            pass
    with another(path):
        waiting = threading.Thread(target=taken_after, args=(turn,))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


def test_threads_of_a_process_have_it_one_at_a_time(path: Path) -> None:
    turn, inside, most = WritingTurn(60, path), [0], [0]

    def write() -> None:
        for _ in range(200):
            with turn:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_thread_gives_up_after_its_seconds(path: Path) -> None:
    turn = WritingTurn(0.05, path)
    with turn, pytest.raises(TurnTakenError):
        turn.__enter__()
    with turn:
        pass


@pytest.mark.parametrize("kind", ["a folder", "a file", "no such place", "a link"])
def test_where_no_fifo_can_be_threads_take_turns_alone(path: Path, kind: str) -> None:
    if kind == "a folder":
        path.mkdir()
    elif kind == "a file":
        path.write_bytes(b"kept")
    elif kind == "a link":
        os.mkfifo(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    turn = WritingTurn(1, path / "below" if kind == "no such place" else path)
    for _ in range(2):
        with turn:
            assert turn._fifo is None
    if kind == "a file":
        assert path.read_bytes() == b"kept"


def test_it_can_be_closed_and_taken_again(path: Path) -> None:
    turn = WritingTurn(1, path)
    with turn:
        pass
    turn.close()
    with turn:
        assert is_held(path)
    turn.close()
    assert path.stat().st_mode & 0o777 == 0o600
