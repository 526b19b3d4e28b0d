import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pynetdicom._config
import pytest
import structlog
from support.listener import RunningListener, Stores, listening


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """One spool and ledger for all tests; each test's instances have their own UIDs."""
    made = Stores(tmp_path_factory.mktemp("state"))
    yield made
    made.ledger.close()


@pytest.fixture(scope="session", autouse=True)
def _plain_log() -> Iterator[None]:
    """Log plainly: structlog's default takes a second to format each exception."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def _pynetdicom_as_it_was() -> Iterator[None]:
    """Restore pynetdicom's log settings, which a listener changes for the whole process."""
    logger, level = logging.getLogger("pynetdicom"), pynetdicom._config.LOG_HANDLER_LEVEL
    before = (logger.level, logger.propagate)
    yield
    logger.level, logger.propagate = before
    pynetdicom._config.LOG_HANDLER_LEVEL = level


@pytest.fixture
def listen(stores: Stores) -> Callable[..., AbstractContextManager[RunningListener]]:
    """`with listen(maximum_associations=1) as listener:` runs a listener with such settings."""
    return partial(listening, stores)


@pytest.fixture(scope="module")
def listener(stores: Stores) -> Iterator[RunningListener]:
    """A listener with the default settings, shared by a module's tests."""
    with listening(stores) as listener:
        yield listener
