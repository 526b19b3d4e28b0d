"""Open the ledger and the spool named by the settings, and return the URL of Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from service.errors import EX_CONFIG, ExplainedError
from service.settings import ConfigurationError, Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool

RESTORING: Final = "restoring"
"""A file in the state directory while `lobar restore` is at work, or after it was killed."""


class UnfinishedRestoreError(ExplainedError):
    """A restore into the state directory has not ended."""

    exit_status = EX_CONFIG


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
    state_dir = settings.state_dir.absolute()
    state_dir.parent.mkdir(parents=True, exist_ok=True)
    state_dir.mkdir(exist_ok=True, mode=0o700)
    if (state_dir / RESTORING).exists():
        raise UnfinishedRestoreError(
            f"A restore into {state_dir} did not end: repeat `lobar restore`."
        )


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
