"""`deploy/offline/build.sh` fetches what hosts need, each file by its hash."""

import shutil
from typing import Final

import pytest
from support.system.machine import Machine

SCRIPT: Final = "deploy/offline/build.sh"
LOCK: Final = """\
always==1.0 \\
    --hash=sha256:aa
earlier==1.0 ; python_full_version < '3.11.3' \\
    --hash=sha256:bb
older==1.0 ; python_full_version < '3.12' \\
    --hash=sha256:cc
newer==1.0 ; python_full_version >= '3.12' \\
    --hash=sha256:dd
"""
# a Python 3.11 that notes what pip is asked for, and fetches nothing
PYTHON: Final = """
if [ "$1" = -c ]; then echo 3.11; exit; fi
echo "$*" >>"$NOTES"
for each in "$@"; do case "$each" in */lock.txt) cat "$each" >>"$NOTES" ;; esac; done
"""


@pytest.fixture
def project(machine: Machine) -> Machine:
    """A machine with a project to pack."""
    for name in ("basename", "find", "ls", "uname", "xargs"):
        (machine.folder / "bin" / name).symlink_to(str(shutil.which(name)))
    machine.add("project/.venv/bin/python", PYTHON)
    project = machine.project
    for name in ("docs", "monai_bundle", "service", "tests", "workers"):
        (project / name).mkdir()
    for name in ("LICENSE", "README.md"):
        (project / name).touch()
    (project / "pyproject.toml").write_text('    "torch==2.13.0",\n')
    (project / "requirements-runtime.lock").write_text(LOCK)
    return machine


def test_what_only_an_earlier_release_of_this_python_needs_is_fetched_too(project: Machine) -> None:
    done = project.run(SCRIPT)
    assert done.returncode == 1
    assert "the wheels have to hold one of Lobar" in done.stderr, "no pip fetched any"
    notes = "\n".join(project.notes())
    assert "earlier==1.0 \\" in notes
    assert "older==1.0 ; python_full_version < '3.12'" in notes, "pip decides"
    assert "newer==1.0 ; python_full_version >= '3.12'" in notes


def test_every_download_is_of_wheels_and_those_of_the_lock_by_hash(project: Machine) -> None:
    project.run(SCRIPT)
    downloads = [line for line in project.notes() if " pip download " in line]
    assert len(downloads) == 3
    assert all("--only-binary :all:" in line for line in downloads)
    assert [line for line in downloads if "lock.txt" in line and "--require-hashes" in line]
    assert [line for line in downloads if line.endswith("torch==2.13.0+cpu")]


def test_a_package_for_a_gpu_has_torch_with_what_it_requires_at_the_locked_versions(
    project: Machine,
) -> None:
    project.run(SCRIPT, "cuda")
    (torch,) = [line for line in project.notes() if "torch==" in line]
    assert "--no-deps" not in torch
    assert torch.endswith("torch==2.13.0,!=2.13.0+cpu")
    assert " -c " in torch


def test_another_kind_of_package_is_not_understood(project: Machine) -> None:
    done = project.run(SCRIPT, "tpu")
    assert (done.returncode, done.stderr) == (2, "offline: cpu or cuda?\n")
