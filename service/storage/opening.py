"""Open the ledger and the spool named by the settings, and return the URL of Redis."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.settings import ConfigurationError, Settings
from service.storage.directories import make_directory
from service.storage.ledger import Ledger
from service.storage.spool import Spool


@contextmanager
def open_stores(settings: Settings) -> Iterator[tuple[Ledger, Spool]]:
    """Open the ledger, migrated to this version, and the spool; close them after the block.

    Raises:
        LedgerError: The database cannot be reached, or is of a newer version.
        OSError: The state directory cannot be written.
    """
    spool = open_spool(settings)
    with open_ledger(settings) as ledger:
        yield ledger, spool


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger, migrated to this version; close it after the block.

    Raises:
        LedgerError: The database cannot be reached, or is of a newer version.
    """
    _make_private(settings)
    ledger = Ledger(settings.ledger_url)
    try:
        ledger.upgrade()
        yield ledger
    finally:
        ledger.close()


def open_spool(settings: Settings) -> Spool:
    """Open the spool and create its directories.

    Raises:
        OSError: The state directory cannot be written.
    """
    _make_private(settings)
    spool = Spool(settings.spool_dir, reserve_bytes=settings.spool.reserve_bytes)
    spool.prepare()
    return spool


def _make_private(settings: Settings) -> None:
    """Create the state directory, readable by this account only: it holds patient data."""
    make_directory(settings.state_dir.absolute(), mode=0o700)


def redis_url(settings: Settings) -> str:
    """Return the URL of the configured Redis.

    Raises:
        ConfigurationError: None is configured; only `lobar up` starts one itself.
    """
    if settings.redis.url is None:
        raise ConfigurationError(
            "redis.url (LOBAR_REDIS__URL) is not set. A process that is started by itself needs "
            "the Redis that the other processes use; `lobar up` starts one."
        )
    return settings.redis.url
