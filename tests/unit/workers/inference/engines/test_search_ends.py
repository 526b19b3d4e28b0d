"""The search for an engine ends with the worker that began it, even one that ended meanwhile."""

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from support.lobar_process import processes_of, wait_for

# A worker that begins the search, and ends so soon that Python has not started there yet.
WORKER: Final = """
import os, subprocess, sys, threading, time
from workers.inference.engines.search import EngineSearch

begun = threading.Event()

class Begun(subprocess.Popen):
    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        begun.set()

subprocess.Popen = Begun
threading.Thread(target=EngineSearch(None, None)._search, daemon=True).start()
assert begun.wait(60)
time.sleep(float(sys.argv[1]))
os._exit(0)
"""


@pytest.mark.parametrize("seconds", [0, 3])
def test_the_search_ends_with_the_worker_that_began_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    engines = tmp_path / "engines"
    engines.mkdir(mode=0o700)
    monkeypatch.setenv("LOBAR_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("LOBAR_BUNDLE__ENGINES", str(engines))
    with (engines / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # so that it would wait for ever
        subprocess.run([sys.executable, "-c", WORKER, str(seconds)], timeout=60, check=True)
        wait_for(lambda: not processes_of(tmp_path), seconds=30)
