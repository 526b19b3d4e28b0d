import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pynetdicom._config
import pytest
import structlog
from support.listener import Door, Memory, listening


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    """One spool and ledger for all; every test's instances have UIDs of their own."""
    made = Memory(tmp_path_factory.mktemp("state"))
    yield made
    made.ledger.close()


@pytest.fixture(scope="session", autouse=True)
def _plain_log() -> Iterator[None]:
    """Structlog by itself paints each exception for a second; the service never does."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def _pynetdicom_as_it_was() -> Iterator[None]:
    """Give other tests' pynetdicom its voice back, which a listener takes from its process."""
    logger, level = logging.getLogger("pynetdicom"), pynetdicom._config.LOG_HANDLER_LEVEL
    before = (logger.level, logger.propagate)
    yield
    logger.level, logger.propagate = before
    pynetdicom._config.LOG_HANDLER_LEVEL = level


@pytest.fixture
def listen(memory: Memory) -> Callable[..., AbstractContextManager[Door]]:
    """`with listen(maximum_associations=1) as door:` runs a listener with such settings."""
    return partial(listening, memory)


@pytest.fixture(scope="module")
def door(memory: Memory) -> Iterator[Door]:
    """A listener with the settings that are shipped, shared by a module's tests."""
    with listening(memory) as running:
        yield running
