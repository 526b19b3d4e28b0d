"""Several listeners on one port, without the other parts of `lobar up`.

    PYTHONPATH=tests .venv/bin/python -m bench.receivers.listeners

The settings come from the environment, as those of `lobar up` do. It ends when one of them does.
"""

import importlib
import os
import shutil
import subprocess
import sys
import time
from typing import Any, Final

from service.settings import Settings

_VARIABLE: Final = "LOBAR_LISTENING"
_PAUSE: Final = 0.1


def main() -> None:
    """Open the port, let the listeners inherit it, and wait."""
    shared = importlib.import_module("service.receiving.shared_listening")
    listening = shared.SharedListening(Settings().dicom)
    listeners = [_start(share) for share in listening.shares()]
    while all(each.poll() is None for each in listeners):
        time.sleep(_PAUSE)


def _start(share: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401 -- of a version that has it
    setpriv = shutil.which("setpriv")
    ending_with_us = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    command = [*ending_with_us, sys.executable, "-m", "service.cli", "listener"]
    variables = {**os.environ, _VARIABLE: share.variable()}  # noqa: TID251 -- of `lobar up`
    return subprocess.Popen(command, env=variables, pass_fds=share.descriptors())


if __name__ == "__main__":
    main()
