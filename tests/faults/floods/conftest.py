"""Fixtures of the floods: a listener in a process of its own, and DCMTK's senders."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.listener_process import ListenerProcess
from support.system.ports import LOOPBACK
from support.system.programs import need_program
from synthetic.objects import make_cr

PATIENCE = 60  # seconds; against hanging only
MARGIN = 240  # seconds in which a service under a soak starts, settles and stops


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give a soak the time that it is to take; a marker that the test added itself is too late."""
    seconds = config.getoption("--soak-seconds")
    for item in items:
        if seconds and item.path.name == "test_soak.py":
            item.add_marker(pytest.mark.timeout(seconds + MARGIN))


@pytest.fixture(scope="module")
def start_listener(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., ListenerProcess]]:
    """`start_listener(**dicom)` runs a listener for the rest of the module."""
    started: list[ListenerProcess] = []

    def start(**options: object) -> ListenerProcess:
        listener = ListenerProcess(tmp_path_factory.mktemp("listener"), **options)  # type: ignore[arg-type]
        started.append(listener)
        listener.start()
        return listener

    yield start
    for listener in started:
        listener.kill()


@pytest.fixture
def gets_in(tmp_path: Path) -> Callable[..., None]:
    """`gets_in(listener)` requires that echoscu and storescu succeed, and prints how long.

    With `tries` each may fail before, as a modality tries again.
    """
    programs = need_program("echoscu"), need_program("storescu")

    def send(listener: ListenerProcess, tries: int = 1) -> None:
        before = len(listener.received())
        instance = tmp_path / "instance.dcm"
        make_cr(rows=64, columns=64).save_as(instance, enforce_file_format=True)
        for program, files in zip(programs, ([], [instance]), strict=True):
            where = ["--aetitle", "LEGITIMATE", "--call", "LOBAR", LOOPBACK, str(listener.port)]
            began = time.monotonic()
            for _ in range(tries):
                done = subprocess.run(
                    [program, *where, *files],
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE,
                    check=False,
                )
                if done.returncode == 0:
                    break
            assert done.returncode == 0, done.stderr
            print(f"{program.name}: {time.monotonic() - began:.2f} s")  # noqa: T201 -- with pytest -s
        assert len(listener.received()) == before + 1

    return send
