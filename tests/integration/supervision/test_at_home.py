"""The command keeps its files to its account, refuses what others can change, and yields memory."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from support.foreign_bundle import make_bundle
from support.lobar_process import wait_for
from support.module_process import run_module
from support.system.ports import LOOPBACK, free_port

from service.errors import EX_CONFIG, EX_NOPERM, EX_TEMPFAIL
from service.receiving.shared_listening import Sharing
from service.storage.ledger import Ledger
from service.supervision.up import parts_of_machine
from workers.inference.pins import write_pins

ROOT: Final = Path(__file__).resolve().parents[3]
SUPERVISOR: Final = """
import sys
from service.settings import child_environment
from service.storage.ledger import Ledger
from service.supervision.supervisor import Part, Supervisor
parts = [
    Part(
        role=role,
        command=["sh", "-c", f"cat /proc/self/oom_score_adj > {sys.argv[1]}/{role}; exec sleep 99"],
        oom_score=score,
        is_watched=False,
    )
    for role, score in (("infer", 600), ("listener", 0))
]
Supervisor(
    parts,
    Ledger(f"sqlite:///{sys.argv[1]}/ledger.sqlite3"),
    environment=child_environment(),
    drain_seconds=5,
    start_seconds=5,
    stuck_seconds=5,
).run()
"""

SHARE: Final = Sharing(number=2, listeners=3, memory=7, sockets=(5, 6))


def lobar(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    configuration = folder / "lobar.toml"
    configuration.touch()
    environment = {
        "PATH": os.environ["PATH"],  # noqa: TID251 -- of the test
        "PYTHONPATH": str(ROOT),
        "LOBAR_CONFIG": str(configuration),
        "LOBAR_STATE_DIR": str(folder / "state"),
        **settings,
    }
    return run_module(ROOT, "service.cli", *words, environment=environment)


def test_what_a_command_makes_is_for_this_account_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        done = lobar(tmp_path, "status")
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    made = [tmp_path / "state", *(tmp_path / "state").rglob("*")]
    assert tmp_path / "state" / "ledger.sqlite3" in made
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made}
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


@pytest.mark.parametrize("words", [("up",), ("status",), ("web",), ("check",)])
def test_a_state_directory_that_others_can_read_is_refused_in_one_line(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    done = lobar(tmp_path, *words, LOBAR_REDIS__URL="redis://127.0.0.1:1/0")
    said = f"chmod -R go= {tmp_path / 'state'}"
    if words == ("check",):
        assert (done.returncode, said in done.stdout.replace("\n", "")) == (1, True)
    else:
        (line,) = done.stderr.splitlines()
        assert (done.returncode, said in line) == (EX_NOPERM, True)


def test_a_dicom_port_in_use_ends_lobar_up_at_its_start_in_one_line(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, free_port())) as other:
        port = other.getsockname()[1]
        done = lobar(
            tmp_path,
            "up",
            LOBAR_REDIS__URL="redis://127.0.0.1:1/0",
            LOBAR_DICOM__PORT=str(port),
        )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, f"dicom.port {port}: Address" in line) == (EX_TEMPFAIL, True)


def test_a_changed_script_of_a_pinned_bundle_is_refused_in_one_line_before_it_is_executed(
    tmp_path: Path,
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    script = bundle / "scripts" / "__init__.py"
    write_pins(bundle)
    script.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    settings = {"LOBAR_BUNDLE__PATH": str(bundle), "LOBAR_REDIS__URL": "redis://127.0.0.1:1/0"}
    done = lobar(tmp_path, "worker", "infer", **settings)
    lines = [line for line in done.stderr.splitlines() if line.startswith("lobar: ")]
    assert (done.returncode, len(lines)) == (EX_CONFIG, 1)
    assert "scripts/__init__.py differ from pins.sha256" in lines[0]
    assert not (tmp_path / "executed").exists()
    accepted = lobar(tmp_path, "bundle", "pin", **settings)
    assert (accepted.returncode, len(accepted.stdout.strip())) == (0, 64)


def test_parts_yield_memory_in_the_order_in_which_their_work_can_be_repeated() -> None:
    scores = {part.role: part.oom_score for part in parts_of_machine(None, [SHARE, SHARE])}
    in_order = sorted(scores, key=lambda role: -scores[role])
    assert in_order == ["infer", "web", "deliver", "relay", "listener"]
    assert scores["listener"] == 0


def test_each_listener_is_a_part_that_inherits_the_sockets() -> None:
    parts = [part for part in parts_of_machine(None, [SHARE]) if part.role == "listener"]
    assert [(part.descriptors, dict(part.variables)) for part in parts] == [
        ((7, 5, 6), {"LOBAR_LISTENING": "2,3,7,5,6"})
    ]


def test_the_supervisor_tells_the_kernel(tmp_path: Path) -> None:
    Ledger(f"sqlite:///{tmp_path}/ledger.sqlite3").upgrade()
    own = int(Path("/proc/self/oom_score_adj").read_text())
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, tmp_path], cwd=ROOT)
    try:
        noted = {"infer": tmp_path / "infer", "listener": tmp_path / "listener"}
        wait_for(lambda: all(each.exists() and each.read_text() for each in noted.values()))
        scores = {role: int(path.read_text()) for role, path in noted.items()}
        assert scores == {"infer": min(1000, own + 600), "listener": own}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_health_of_a_service_that_does_not_run_is_said_in_one_line(tmp_path: Path) -> None:
    done = lobar(tmp_path, "health", LOBAR_HEALTH__PORT=str(free_port()))
    assert (done.returncode, "Is the service running?" in done.stderr) == (1, True)
