"""`deploy/setup/venv.sh` makes .venv once, from the lock, and says in a line what it lacks."""

import pytest
from support.system.machine import Machine

SCRIPT = "deploy/setup/venv.sh"
# A Python that is new enough. As `-m venv` it makes an environment of itself; as `-m pip` it takes
# notes, puts a `lobar` there at the end, and knows no build of torch named in $MACHINE/no-torch.
PYTHON = r"""
case "$*" in
    *version_info\ \<*) exit 0 ;;
    *ensurepip*) [ ! -e "$MACHINE/no-ensurepip" ] ;;
    *python%d*) echo python3.11-venv ;;
    *%d.%d*) echo 3.11 ;;
    --version) echo Python 3.11.2 ;;
    "-m venv"*) mkdir -p .venv/bin; cat "$0" >.venv/bin/python; chmod +x .venv/bin/python ;;
    "-m pip --version") ;;
    "-m pip config list") cat "$MACHINE/pip.conf" 2>/dev/null || true ;;
    "-m pip install --quiet"*)
        echo "$*" >>"$NOTES"
        cp "${!#}" "$MACHINE/uv-requirement"
        [ ! -e "$MACHINE/no-uv" ] || exit 1
        cp "$MACHINE/uv" .venv/bin/uv ;;
    "-m pip"*)
        echo "$*" >>"$NOTES"
        if [ -e "$MACHINE/no-torch" ] && grep -qxF "$4" "$MACHINE/no-torch"; then
            echo "ERROR: No matching distribution found for $4" >&2
            exit 1
        fi
        if [ "$3" = check ]; then
            [ ! -e "$MACHINE/stale-lock" ] || exit 1
            touch .venv/bin/lobar; chmod +x .venv/bin/lobar
        fi ;;
esac
"""


@pytest.fixture
def workplace(machine: Machine) -> Machine:
    """A machine with a Python, and a project with a lock and a pyproject.toml."""
    machine.add("bin/python3.11", PYTHON)
    machine.project.mkdir()
    (machine.project / "requirements.lock").write_text("first==1\n")
    (machine.project / "pyproject.toml").write_text('dependencies = [\n    "torch==2.13.0",\n]\n')
    return machine


def test_everything_is_installed_by_hash_except_torch_and_the_project(workplace: Machine) -> None:
    done = workplace.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    locked, torch, project, check = workplace.notes()
    assert "--no-deps --only-binary :all: --require-hashes -r requirements.lock" in locked
    assert torch == "-m pip install torch==2.13.0+cpu"
    assert "--no-deps --no-build-isolation -e ." in project
    assert check == "-m pip check"
    assert done.stdout.endswith("==> Ready: .venv/bin/lobar\n")


UV = r"""
echo "uv $* $UV_DEFAULT_INDEX $UV_INDEX $UV_FIND_LINKS" >>"$NOTES"
[ ! -e "$MACHINE/uv-fails" ]
"""
LOCKED_UV = "uv==1.2.3 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"


@pytest.fixture
def with_uv(workplace: Machine) -> Machine:
    """The same, with uv in the lock between two others."""
    lock = workplace.project / "requirements.lock"
    lock.write_text(f"first==1 \\\n    --hash=sha256:11\n{LOCKED_UV}vine==5\n")
    workplace.add("uv", UV)
    (workplace.folder / "pip.conf").write_text(
        "global.extra-index-url='one two'\nglobal.find-links='here there'\n"
        "global.index-url='mirror'\n"
    )
    return workplace


def test_uv_of_the_lock_installs_from_where_pip_would(with_uv: Machine) -> None:
    done = with_uv.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    own, locked, torch, project, check = with_uv.notes()
    assert "--no-deps --only-binary :all: --require-hashes -r" in own
    assert (with_uv.folder / "uv-requirement").read_text() == LOCKED_UV
    assert locked.startswith("uv pip install")
    assert "--no-deps --only-binary :all: --require-hashes -r requirements.lock" in locked
    assert locked.endswith(" mirror one two here,there")
    assert torch.startswith("uv pip install")
    assert " torch==2.13.0+cpu " in torch
    assert "--no-deps --no-build-isolation -e ." in project
    assert check == "-m pip check"


@pytest.mark.parametrize("trouble", ["no-uv", "uv-fails"])
def test_pip_does_the_work_where_uv_cannot(with_uv: Machine, trouble: str) -> None:
    (with_uv.folder / trouble).touch()

    done = with_uv.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    by_pip = [each for each in with_uv.notes() if each.startswith("-m pip install --no-deps")]
    assert by_pip[0].endswith("--only-binary :all: --require-hashes -r requirements.lock")
    assert "-m pip install torch==2.13.0+cpu" in with_uv.notes()
    assert (with_uv.project / ".venv" / "bin" / "lobar").exists()


def test_uv_installs_the_lock_without_and_torch_with_what_it_requires(with_uv: Machine) -> None:
    with_uv.add("dev/nvidia0")

    with_uv.run(SCRIPT)

    _, locked, torch, *_ = with_uv.notes()
    assert "--no-deps --only-binary :all: --require-hashes -r requirements.lock" in locked
    assert "torch==2.13.0,!=2.13.0+cpu" in torch
    assert "--no-deps" not in torch


@pytest.mark.parametrize(("forbidden", "compiled"), [("", False), ("1", True)])
def test_bytecode_is_written_now_where_python_may_not_write_it_later(
    with_uv: Machine, forbidden: str, *, compiled: bool
) -> None:
    with_uv.run(SCRIPT, variables={"PYTHONDONTWRITEBYTECODE": forbidden})

    _, locked, torch, *_ = with_uv.notes()
    assert ("--compile-bytecode" in locked) == compiled
    assert ("--compile-bytecode" in torch) == compiled


def test_python_chooses_the_interpreter_and_changes_it(workplace: Machine) -> None:
    assert workplace.run(SCRIPT).returncode == 0
    workplace.add("bin/python3.13", PYTHON.replace("echo 3.11 ", "echo 3.13 "))

    done = workplace.run(SCRIPT, variables={"PYTHON": "python3.13"})

    assert done.returncode == 0, done.stderr
    assert "==> Making .venv" in done.stdout
    again = workplace.run(SCRIPT, variables={"PYTHON": "python3.13"})
    assert again.stdout == ""


def test_a_chosen_interpreter_that_is_too_old_is_an_error_of_one_line(workplace: Machine) -> None:
    workplace.add("bin/python3.9", "exit 1")

    done = workplace.run(SCRIPT, variables={"PYTHON": "python3.9"})

    assert done.returncode == 1
    assert done.stderr == "setup: PYTHON=python3.9 is no Python 3.11 or later\n"


def test_a_second_run_does_nothing(workplace: Machine) -> None:
    workplace.run(SCRIPT)
    before = workplace.notes()

    done = workplace.run(SCRIPT)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert workplace.notes() == before


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_change_is_installed_into_the_same_environment(workplace: Machine, name: str) -> None:
    workplace.run(SCRIPT)
    kept = workplace.project / ".venv" / "kept"
    kept.touch()
    file = workplace.project / name
    file.write_text(file.read_text() + "# changed\n")

    done = workplace.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    assert len(workplace.notes()) == 8
    assert kept.exists()


def test_without_a_cpu_build_the_default_build_is_taken(workplace: Machine) -> None:
    (workplace.folder / "no-torch").write_text("torch==2.13.0+cpu\n")

    done = workplace.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    assert workplace.notes()[2] == "-m pip install torch==2.13.0"
    assert "pip knows no CPU build of torch" in done.stdout


def test_with_a_gpu_the_cpu_build_is_passed_over(workplace: Machine) -> None:
    workplace.add("dev/nvidia0")

    workplace.run(SCRIPT)

    assert workplace.notes()[1] == "-m pip install torch==2.13.0,!=2.13.0+cpu"


def test_an_interrupted_installation_is_taken_up_again(workplace: Machine) -> None:
    (workplace.folder / "no-torch").write_text("torch==2.13.0+cpu\ntorch==2.13.0\n")
    assert workplace.run(SCRIPT).returncode != 0
    (workplace.folder / "no-torch").unlink()

    done = workplace.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    assert workplace.notes()[-1] == "-m pip check"


def test_a_lock_that_lacks_a_dependency_is_named_as_the_cause(workplace: Machine) -> None:
    (workplace.folder / "stale-lock").touch()

    done = workplace.run(SCRIPT)

    assert done.returncode == 1
    assert done.stderr.endswith("what pyproject.toml asks for: run make lock\n")


def test_without_a_python_that_is_new_enough_one_line_says_what_to_install(
    workplace: Machine,
) -> None:
    workplace.add("bin/python3.11", "exit 127")
    workplace.add("bin/python3", "exit 1")

    done = workplace.run(SCRIPT)

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("setup: no Python 3.11 or later: install one")


def test_debian_s_missing_venv_package_is_installed_by_root(workplace: Machine) -> None:
    (workplace.folder / "no-ensurepip").touch()
    workplace.add("bin/apt-get", 'echo "apt-get $*" >>"$NOTES"')

    done = workplace.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    assert workplace.notes()[1].endswith("install -y -q --no-install-recommends python3.11-venv")


def test_debian_s_missing_venv_package_is_named_to_a_user(workplace: Machine) -> None:
    (workplace.folder / "no-ensurepip").touch()
    workplace.add("bin/apt-get", 'echo "apt-get $*" >>"$NOTES"')
    workplace.become_user()

    done = workplace.run(SCRIPT)

    assert done.returncode == 1
    assert "install the package python3.11-venv" in done.stderr
    assert workplace.notes() == []
