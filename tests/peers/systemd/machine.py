"""A systemd of a test, as the first process of namespaces of its own.

It sees the files of this machine, or of another root, through a copy-on-write view that is gone
when it ends. It has a network of its own with a loopback alone, and starts no unit of the machine.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from support.lobar_process import NOT_REQUIRED
from support.system.programs import need_program

REPOSITORY: Final = Path(__file__).resolve().parents[3]
BOOT: Final = Path(__file__).with_name("boot.sh")
START_SECONDS: Final = 60
# where the tests' Python and packages are there: not below /root or /home, which units may not see
PYTHON: Final = Path("/opt/python")
HIDING: Final = Path("/opt/hiding")
SOURCES: Final = Path("/opt/sources")
INSTALLED: Final = Path("/opt/lobar/current")
DIES_WITH_PYTEST: Final = ("setpriv", "--pdeathsig", "KILL")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TARGET: Final = "[Unit]\nDefaultDependencies=no\n"


class Systemd:
    """A booted systemd: run commands in it, read what they write, end it."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.share = folder / "share"  # /share there
        self.pid = pid

    def run(
        self, *command: str | Path, status: int | None = 0, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there as root, and check its exit status unless that is None."""
        done = subprocess.run(
            self.command(*command),
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
        assert status is None or done.returncode == status, done.stdout + done.stderr
        return done

    def command(self, *command: str | Path) -> list[str]:
        """Return the command line that runs a command there."""
        enter = ["nsenter", "--target", str(self.pid), "--all"]
        bare = ["env", "-i", f"PATH={PATH}", "OMP_NUM_THREADS=1"]
        return [*enter, *bare, *map(str, command)]

    def systemctl(self, *words: str, status: int | None = 0) -> str:
        """Run systemctl and return what it prints."""
        return self.run("systemctl", *words, status=status).stdout

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit).strip()


@contextmanager
def booted(
    folder: Path,
    *,
    root: Path = Path("/"),
    tree: Mapping[str, str] | None = None,
    binds: Sequence[tuple[Path, Path]] = (),
) -> Iterator[Systemd]:
    """Boot a systemd, and end it after the block.

    Args:
        folder: an empty folder of the test.
        root: the root file system that it sees; it is not changed.
        tree: files to write over it, by their path there.
        binds: what it sees in other places: from where, to where.
    """
    need_program("systemctl")
    _require_right_to_boot()
    for name in ("share", "tree", "root", "changes", "cgroups"):
        (folder / name).mkdir()
    files = {"/etc/systemd/system/tests.target": TARGET, **(tree or {})}
    for path, text in files.items():
        file = folder / "tree" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if text.startswith("#!") else 0o644)
    for each in (folder / "tree").rglob("*"):
        if each.is_dir():
            each.chmod(0o755)
    (folder / "binds").write_text("".join(f"{source} {target}\n" for source, target in binds))
    with (folder / "boot.log").open("wb") as log:
        process = subprocess.Popen(
            [*DIES_WITH_PYTEST, "unshare", "--mount", "bash", BOOT, folder, root],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        systemd = None
        try:
            systemd = _wait_until_it_answers(folder, process)
            yield systemd
        finally:
            _end(process, systemd)


def lobar_of_the_tests() -> tuple[dict[str, str], list[tuple[Path, Path]]]:
    """Return the files and binds that make this repository the installed Lobar.

    A stand-in for an installation: the tests' environment, in a place that units may read, without
    what only training and tests need.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    run = (
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH={PYTHON}/lib PYTHONPATH={HIDING}:{SOURCES}\n"
        f'exec {INSTALLED}/bin/python -P -m service.cli "$@"\n'
    )
    tree = {
        f"{INSTALLED}/pyvenv.cfg": f"home = {PYTHON}/bin\n",
        f"{INSTALLED}/bin/lobar": run,
        **{f"{HIDING}/{name}.py": "raise ImportError" for name in NOT_REQUIRED},
    }
    packages = Path(sysconfig.get_path("purelib"))
    return tree, [
        (Path(sys.base_prefix), PYTHON),
        (Path(sys.base_prefix) / "bin" / version, INSTALLED / "bin" / "python"),
        (packages, INSTALLED / "lib" / version / "site-packages"),
        (REPOSITORY, SOURCES),
    ]


def _wait_until_it_answers(folder: Path, process: subprocess.Popen[bytes]) -> Systemd:
    until = time.monotonic() + START_SECONDS
    pid = folder / "share" / "pid"
    while time.monotonic() < until and process.poll() is None:
        if pid.exists() and (number := pid.read_text().strip()):
            systemd = Systemd(folder, int(number))
            if systemd.run("systemctl", "is-active", "tests.target", status=None).returncode == 0:
                return systemd
        time.sleep(0.05)
    pytest.fail(f"systemd does not answer: {(folder / 'boot.log').read_text()}")


def _end(process: subprocess.Popen[bytes], systemd: Systemd | None) -> None:
    """End it as a power cut does: the kernel ends every process of its namespace."""
    if systemd is not None and process.poll() is None:
        os.kill(systemd.pid, signal.SIGKILL)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _require_right_to_boot() -> None:
    """Skip the test where this account may not make namespaces and mount in them.

    A container without these rights is no fault of the machine, so not under CI either.
    """
    for name in ("unshare", "nsenter", "setpriv"):
        if shutil.which(name) is None:
            pytest.skip(f"no {name} on this machine")
    tried = subprocess.run(
        [
            *("unshare", "--mount", "--cgroup", "--net", "--pid", "--fork"),
            *("mount", "-t", "tmpfs", "tmpfs", "/mnt"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if tried.returncode != 0:
        pytest.skip(f"this account may boot no systemd here: {tried.stderr.strip()}")
