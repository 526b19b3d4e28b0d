"""Folders that stand for a machine, for scripts that would otherwise change the real one."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ORDINARY_PROGRAMS = (
    *("bash", "cat", "chmod", "cp", "cut", "dirname", "env", "grep", "gzip", "head", "mkdir"),
    *("mktemp", "mv", "rm", "sed", "sha256sum", "sort", "tail", "tar", "tee", "touch", "tr"),
)


class Machine:
    """A project folder whose scripts find only the programs of this machine.

    `/usr/`, `/dev/nvidia` and `/run/` in the scripts become folders of the machine; `notes` returns
    what its programs wrote to `$NOTES`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / "project"
        self._notes = folder / "notes"
        for name in ORDINARY_PROGRAMS:
            found = shutil.which(name)
            assert found is not None
            link = folder / "bin" / name
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(found)
        self.become_root()

    def add(self, path: str, script: str = "exit 0") -> Path:
        """Write a program to a path below the machine's root, and return its file."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!{shutil.which('bash')}\n{script}\n")
        file.chmod(0o755)
        return file

    def become_root(self) -> None:
        """Run the scripts as root, as far as `id` shows."""
        self.add("bin/id", "echo 0")

    def become_user(self) -> None:
        """Run the scripts as an ordinary user without sudo, as far as `id` shows."""
        self.add("bin/id", "echo 1000")

    def notes(self) -> list[str]:
        """Return the lines that the machine's programs wrote to `$NOTES`."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    def run(
        self, script: str, *arguments: str, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a copy of a script of the repository on this machine."""
        text = (ROOT / script).read_text()
        for folder in ("/usr/", "/dev/nvidia", "/run/"):
            text = text.replace(folder, f"{self.folder}{folder}")
        copy = self.project / script
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
        return subprocess.run(
            ["bash", copy, *arguments],
            env={
                "PATH": f"{self.project}/.venv/bin:{self.folder}/bin",
                "NOTES": str(self._notes),
                "MACHINE": str(self.folder),
                **(variables or {}),
            },
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with ordinary programs only, used by root."""
    return Machine(tmp_path)
