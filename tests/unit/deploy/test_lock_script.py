"""`deploy/setup/lock.sh` asks uv for a lock with hashes, from where pip looks, without torch."""

import pytest
from support.system.machine import Machine

SCRIPT = "deploy/setup/lock.sh"
PIP_CONFIGURATION = r"""
:env:.extra-index-url='https://first.example https://second.example'
:env:.timeout='60'
global.extra-index-url='https://overruled.example'
global.index-url='https://mirror.example/simple'
"""
PYTHON = r"""
case "$*" in
    "-m venv "*) mkdir -p "$3/bin"; cat "$0" >"$3/bin/python"; chmod +x "$3/bin/python" ;;
    *"pip config list") cat "$MACHINE/pip-configuration" ;;
    -c*PyPI.simple_url*) echo https://default.example/simple ;;
    *"pip install --quiet uv") cat "$MACHINE/uv" >"${0%/*}/uv"; chmod +x "${0%/*}/uv" ;;
    *) echo "unexpected: $*" >&2; exit 1 ;;
esac
"""
UV = r"""
[ -e "$MACHINE/lock-before" ] || cp requirements.lock "$MACHINE/lock-before"
echo "$UV_DEFAULT_INDEX|$UV_INDEX|$*" >>"$NOTES"; cat "$4" >>"$NOTES"
"""
LOCK = r"""first==1 ; sys_platform == 'linux' \
    --hash=sha256:aa \
    --hash=sha256:bb
second==2
"""


@pytest.fixture
def workplace(machine: Machine) -> Machine:
    """A machine with an environment that may be behind pyproject.toml, and a uv to install."""
    machine.add("project/.venv/bin/python", PYTHON)
    machine.add("uv", UV)
    (machine.folder / "pip-configuration").write_text(PIP_CONFIGURATION)
    (machine.project / "requirements.lock").write_text(LOCK)
    return machine


def test_uv_looks_where_pip_looks(workplace: Machine) -> None:
    done = workplace.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    default, extra, _ = workplace.notes()[0].split("|")
    assert default == "https://mirror.example/simple"
    main, *others = extra.split()
    assert main == default, "of one version in two indexes, uv takes the files of the first"
    assert others == ["https://first.example", "https://second.example"]


def test_the_main_index_comes_first_where_pip_uses_its_own(workplace: Machine) -> None:
    (workplace.folder / "pip-configuration").write_text(
        "global.extra-index-url='https://first.example'\n"
    )

    workplace.run(SCRIPT)

    default, extra, _ = workplace.notes()[0].split("|")
    assert default == "https://default.example/simple"
    assert extra == "https://default.example/simple https://first.example"


def test_uv_is_given_the_versions_of_the_lock_and_finds_the_hashes_anew(
    workplace: Machine,
) -> None:
    workplace.run(SCRIPT)

    given = (workplace.folder / "lock-before").read_text()
    assert given == "first==1 ; sys_platform == 'linux'\nsecond==2\n"


def test_the_lock_has_hashes_and_what_torch_needs_but_not_torch(workplace: Machine) -> None:
    workplace.run(SCRIPT)

    command, *torch_needs = workplace.notes()
    assert "--generate-hashes" in command
    assert "--extra dev --extra site --extra train --extra otel" in command
    assert "--no-emit-package torch" in command
    assert command.endswith("-o requirements.lock")
    assert "sympy" in torch_needs
    assert "torch" not in torch_needs


def test_the_runtime_lock_has_no_extra_and_the_versions_of_the_lock(workplace: Machine) -> None:
    workplace.run(SCRIPT)

    _, runtime = [line for line in workplace.notes() if "|" in line]
    assert "--generate-hashes" in runtime
    assert "--extra" not in runtime
    assert runtime.endswith("--constraint requirements.lock -o requirements-runtime.lock")
