"""The shared fixtures and the option `--full`.

The fixtures are real peers on loopback, each in a module of `tests/peers`.
"""

import os
from typing import Final

import pytest
from hypothesis import settings
from pydicom import config as pydicom_config

pytest_plugins = [
    # none before those it imports: pytest must be the first to import each
    "support.system.ports",
    "support.system.programs",
    "support.system.radiographs",
    "peers.redis_server",
    "peers.postgresql",
    "peers.orthanc",
    "support.system.certificates",
    "peers.dcmtk",
    "peers.rsyslog",
    "peers.validators",
    "support.lobar_process",
    "support.system.machine",
    "peers.browser",
    "peers.viewer",
    "peers.openid",
]

# As the command does: a state directory that other accounts can enter is refused.
os.umask(0o077)

ONLY_IN_THE_FULL_RUN: Final = pytest.mark.skip(reason="long: runs only with pytest --full")


@pytest.fixture
def validation_mode_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore pydicom's validation mode, for tests that read with MONAI's reader in threads.

    The reader sets it for a while, and threads that end in another order leave theirs behind for
    the tests that follow. Lobar reads in decoders, which are processes of one thread.
    """
    name = "_reading_validation_mode"
    monkeypatch.setattr(pydicom_config.settings, name, getattr(pydicom_config.settings, name))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--full` and `--soak-seconds`."""
    parser.addoption(
        "--full",
        action="store_true",
        help="run the tests marked `full` too, and each property test with ten times the examples",
    )
    parser.addoption("--soak-seconds", type=float, help="how long tests/faults/floods soaks")


def pytest_configure(config: pytest.Config) -> None:
    """Set how many examples a property test has where it does not say so itself."""
    settings.register_profile("full", max_examples=10 * settings().max_examples)
    if config.getoption("--full"):
        settings.load_profile("full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the long files first; skip what is marked `full` in a run without `--full`.

    It is skipped on every machine and under CI. A file with a test marked `slow` goes first, so
    that at the end no process has a long file left while the others are idle.
    """
    long = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in long)
    if config.getoption("--full"):
        return
    for item in items:
        if item.get_closest_marker("full") is not None:
            item.add_marker(ONLY_IN_THE_FULL_RUN)
