"""A machine made of folders, for scripts that would otherwise change the real one."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDINARY_PROGRAMS = (
    *(
        "bash",
        "cat",
        "chmod",
        "cp",
        "cut",
        "dirname",
        "env",
        "grep",
        "gzip",
        "head",
        "mkdir",
        "mktemp",
    ),
    *("mktemp", "mv", "rm", "sed", "sha256sum", "sort", "tail", "tar", "tee", "touch", "tr"),
)


class Machine:
    """A project in a folder of its own whose scripts find only what this machine has.

    `/usr`, `/dev` and `/run` of the scripts are folders of the machine; `notes` is what the
    machine's programs wrote to `$NOTES`.
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
        """Put a program on the machine, at a path below its root."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!{shutil.which('bash')}\n{script}\n")
        file.chmod(0o755)
        return file

    def become_root(self) -> None:
        """Let the scripts find that root runs them."""
        self.add("bin/id", "echo 0")

    def become_user(self) -> None:
        """Let the scripts find that an ordinary user runs them, who has no sudo."""
        self.add("bin/id", "echo 1000")

    def notes(self) -> list[str]:
        """What the machine's programs wrote down."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    def run(
        self, script: str, *arguments: str, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of the project as it stands in the repository, moved to this machine."""
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
    """A bare machine: ordinary programs, run by root."""
    return Machine(tmp_path)
