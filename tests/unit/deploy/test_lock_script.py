"""`deploy/setup/lock.sh` asks uv for a lock with hashes, from where pip looks, without torch."""

import pytest
from support.machine import Machine

SCRIPT = "deploy/setup/lock.sh"
PIP_CONFIGURATION = r"""
:env:.extra-index-url='https://first.example https://second.example'
:env:.timeout='60'
global.extra-index-url='https://overruled.example'
global.index-url='https://mirror.example/simple'
"""
PYTHON = rf"""
case "$*" in
    "-m venv "*) mkdir -p "$3/bin"; cat "$0" >"$3/bin/python"; chmod +x "$3/bin/python" ;;
    *"pip config list") cat <<'END'{PIP_CONFIGURATION}END
    ;;
    *"pip install --quiet uv") cat "$MACHINE/uv" >"${{0%/*}}/uv"; chmod +x "${{0%/*}}/uv" ;;
    *) echo "unexpected: $*" >&2; exit 1 ;;
esac
"""
UV = 'echo "$UV_DEFAULT_INDEX|$UV_INDEX|$*" >>"$NOTES"; cat "$4" >>"$NOTES"'


@pytest.fixture
def workplace(machine: Machine) -> Machine:
    """A machine with an environment that may be behind pyproject.toml, and a uv to install."""
    machine.add("project/.venv/bin/python", PYTHON)
    machine.add("uv", UV)
    return machine


def test_uv_looks_where_pip_looks(workplace: Machine) -> None:
    done = workplace.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    default, extra, _ = workplace.notes()[0].split("|")
    assert default == "https://mirror.example/simple"
    assert extra == "https://first.example https://second.example"


def test_the_lock_has_hashes_and_what_torch_needs_but_not_torch(workplace: Machine) -> None:
    workplace.run(SCRIPT)

    command, *torch_needs = workplace.notes()
    assert "--generate-hashes" in command
    assert "--extra dev --extra train" in command
    assert "--no-emit-package torch" in command
    assert "-o requirements.lock" in command
    assert "sympy" in torch_needs
    assert "torch" not in torch_needs
