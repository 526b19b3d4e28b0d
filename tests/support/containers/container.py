"""A process as an engine runs it: an overlay as its root, mounts, an account and few rights.

A stand-in for an engine such as Docker: without limits of cgroups and without seccomp. Its root is
that of an image, or that of this machine, whose programs then stand for those of the image.
"""

import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from support.lobar_process import wait_for
from support.system.programs import need_program

ROOT: Final = Path(__file__).resolve().parents[3]
STOP_SECONDS: Final = 60
NO_CAPABILITIES: Final = ("--inh-caps=-all", "--bounding-set=-all")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A folder or file of this machine at a place of the container; without a source a tmpfs."""

    target: str
    source: Path | None = None
    is_read_only: bool = False
    options: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an engine would be told of a container."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    user: tuple[int, int]
    mounts: Sequence[Mount] = ()
    working_dir: str = "/"
    is_read_only: bool = True
    hosts: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM


class Container:
    """A container that can be started, asked and stopped."""

    def __init__(
        self, folder: Path, plan: Plan, *, root: Path = Path("/"), enter: Sequence[str] = ()
    ) -> None:
        """Prepare it.

        Args:
            folder: Of its own, on a file system that can be the upper one of an overlay.
            plan: What it runs, and how.
            root: What its root shows.
            enter: The beginning of a command line, such as that of a host of a network.
        """
        require_right_to_contain()
        self.plan = plan
        self.log = folder / f"{plan.name}.log"
        self._folder = folder / plan.name
        self._root = root
        self._enter = list(enter)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        """The process that is number 1 in it, which comes a moment after its start."""
        wait_for(lambda: self._children() or not self.is_running)
        children = self._children()
        assert children, self.log_tail()
        return int(children[0])

    def _children(self) -> list[str]:
        assert self._process is not None
        pid = self._process.pid
        try:
            return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:  # it ended
            return []

    def start(self) -> None:
        """Start it, in an overlay that is empty."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for each in ("upper", "work", "root"):
            (self._folder / each).mkdir(parents=True)
        (self._folder / "upper").chmod(0o755)
        script = self._folder / "start"
        script.write_text(self._script())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(need_program("setpriv")), "--pdeathsig", "KILL", "--", *self._enter),
                    *(str(need_program("unshare")), "--mount", "--pid", "--ipc", "--uts", "--fork"),
                    *("--kill-child", "bash", str(script)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> int:
        """Stop it as an engine does, and return its status."""
        assert self._process is not None
        if self.is_running:
            subprocess.run(["kill", f"-{self.plan.stop_signal.name}", str(self.pid)], check=False)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill it with all its processes."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def run(self, *command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in it, with its account and environment, as `exec` of an engine does."""
        return subprocess.run(
            [
                *("nsenter", "--target", str(self.pid), "--all", "--root", "--wd", "--"),
                *self._as_account(command),
            ],
            check=False,
            capture_output=True,
            text=True,
            input=given,
            timeout=STOP_SECONDS,
        )

    def log_tail(self) -> str:
        """Return the last lines that it wrote."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"{self.plan.name}:", *lines[-20:]])

    def _as_account(self, command: Sequence[str]) -> list[str]:
        uid, gid = self.plan.user
        return [
            *("setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups"),
            *("--no-new-privs", *NO_CAPABILITIES, "--", "env", "--ignore-environment"),
            *(f"{name}={value}" for name, value in self.plan.environment.items()),
            *command,
        ]

    def _script(self) -> str:
        """Return the script that makes the root and then becomes the process."""
        top = self._folder / "root"
        overlay = f"upperdir={self._folder / 'upper'},workdir={self._folder / 'work'}"
        lines = [
            "set -e",
            "umask 022",
            "mount --make-rprivate /",
            f"mount -t overlay overlay -o lowerdir={self._root},{overlay} {top}",
            "mkdir -p {top}/{proc,dev,tmp,etc}".replace("{top}", str(top)),
            f"mount -t proc proc {top}/proc",
            f"mount --rbind /dev {top}/dev",
            *self._lines_for_this_machine(top),
            f"cat >{top}/etc/hosts <<'END'",
            "127.0.0.1 localhost",
            *(f"{address} {name}" for name, address in self.plan.hosts.items()),
            "END",
            *(line for each in self.plan.mounts for line in _mount_lines(each, top)),
            *self._lines_for_what_is_hidden(top),
        ]
        if self.plan.is_read_only:
            lines.append(f"mount -o remount,bind,ro {top}")
        lines += [
            f"hostname {shlex.quote(self.plan.name)}",
            f"cd {top}",
            f"exec chroot {top} bash -c "
            + shlex.quote(
                f"cd {shlex.quote(self.plan.working_dir)} && exec "
                + shlex.join(self._as_account(self.plan.command))
            ),
        ]
        return "\n".join(lines) + "\n"

    def _lines_for_this_machine(self, top: Path) -> list[str]:
        """Return what lets another account reach this environment where the root is `/`."""
        if self._root != Path("/"):
            return []
        interpreter = Path(shutil.which("python3", path=ROOT / ".venv/bin") or "").resolve()
        passed = {*ROOT.parents, ROOT, *interpreter.parents}
        return [
            *(f"chmod a+x {top}{each}" for each in sorted(passed)),
            f"ln -s {ROOT / '.venv'} {top}/opt/lobar",
        ]

    def _lines_for_what_is_hidden(self, top: Path) -> list[str]:
        """Return what shows this repository again where it lies below a tmpfs, such as in /tmp."""
        hiding = [each.target for each in self.plan.mounts if each.source is None]
        if self._root != Path("/") or not any(map(ROOT.is_relative_to, hiding)):
            return []
        return [f"mkdir -p {top}{ROOT}", f"mount --rbind {ROOT} {top}{ROOT}"]


def _mount_lines(mount: Mount, top: Path) -> list[str]:
    # links such as /var/run lead to places in the root, not of this machine
    place = f"place={top}$(chroot {top} realpath -m {shlex.quote(mount.target)})"
    if mount.source is None:
        options = mount.options or "mode=1777"  # as Docker's
        return [place, 'mkdir -p "$place"', f'mount -t tmpfs -o {options} tmpfs "$place"']
    make = (
        'mkdir -p "$place"'
        if mount.source.is_dir()
        else '[ -e "$place" ] || (mkdir -p "$(dirname "$place")" && touch "$place")'
    )
    bind = f'mount --bind {shlex.quote(str(mount.source))} "$place"'
    keep = ['mount -o remount,bind,ro "$place"'] if mount.is_read_only else []
    return [place, make, bind, *keep]


def wait_until_healthy(container: Container, test: Sequence[str], seconds: float = 120) -> None:
    """Wait until the health check of a container exits with 0; fail if it does not."""
    until = time.monotonic() + seconds
    while True:
        assert container.is_running, container.log_tail()
        done = container.run(*test)
        if done.returncode == 0:
            return
        assert time.monotonic() < until, f"{done.stdout}{done.stderr}\n{container.log_tail()}"
        time.sleep(0.5)


@cache
def _why_not() -> str | None:
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stderr.strip() if done.returncode else None


def require_right_to_contain() -> None:
    """Skip the test where this account may make no namespaces and mounts."""
    if why := _why_not():
        pytest.skip(f"no right to make namespaces and mounts here: {why}")
