"""SIGTERM ends a part also where the kernel hands it to a thread that is not the main one."""

import ctypes
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from support.lobar_process import wait_for
from support.system.ports import accepts_connections, free_port

SYS_TGKILL: Final = 234  # of Linux on x86-64 (tgkill(2))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of tgkill(2) is another")
def test_a_listener_ends_by_a_signal_that_another_thread_took(tmp_path: Path) -> None:
    port = free_port()
    configuration = tmp_path / "lobar.toml"
    configuration.touch()
    settings = {
        "LOBAR_CONFIG": str(configuration),
        "LOBAR_STATE_DIR": str(tmp_path / "state"),
        "LOBAR_DICOM__PORT": str(port),
        "LOBAR_REDIS__URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    listener = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "listener"],
        env=os.environ | settings,  # noqa: TID251 -- the tests' own
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: accepts_connections(port))
        threads = Path(f"/proc/{listener.pid}/task")

        def others() -> list[int]:  # accepting, heartbeat, watchdog: all are there when it waits
            found = [int(each.name) for each in threads.iterdir()]
            return [each for each in found if each != listener.pid] if len(found) > 3 else []

        other = min(wait_for(others))
        assert ctypes.CDLL(None).syscall(SYS_TGKILL, listener.pid, other, signal.SIGTERM) == 0
        assert listener.wait(60) == 0
    finally:
        listener.kill()
        listener.wait()
