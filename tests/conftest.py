"""The shared fixtures and the option `--full`.

The fixtures are real peers on loopback, each in a module of `tests/peers`.
"""

import gc
import os
import sys
from collections.abc import Iterator
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

# MONAI imports jsonschema where it is there, and that builds 38 grammars for a second, for a check
# of formats that nothing here asks for. It does without where they are not installed.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

# As the command does: a state directory that other accounts can enter is refused.
os.umask(0o077)

# Python's own is 700 new objects, which a request to the web server has several times over.
NEW_OBJECTS_PER_COLLECTION: Final = 10_000
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
    """Set how many examples a property test has where it does not say so itself, in any time."""
    many = 10 if config.getoption("--full") else 1
    settings.register_profile("lobar", deadline=None, max_examples=many * settings().max_examples)
    settings.load_profile("lobar")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave what is there once the tests are collected out of every collection of garbage.

    It is a million objects that stay until the end, and going through them takes half a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS_PER_COLLECTION)
        gc.enable()


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
