"""What the tests of the scripts that fetch with npm have in common."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.system.machine import Machine


@pytest.fixture(params=[None, "exit 1"], ids=["no-npm", "no-registry"])
def cut_off(request: pytest.FixtureRequest) -> Callable[[Machine], None]:
    """Take npm from a machine, or its registry from npm."""

    def cut(machine: Machine) -> None:
        if request.param is None:
            Path(machine.folder / "bin/npm").unlink()
        else:
            machine.add("bin/npm", request.param)

    return cut
