"""Open the ledger and the spool named by the settings, and return the URL of Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.errors import EX_CONFIG, ExplainedError
from service.settings import ConfigurationError, Settings
from service.storage.ledger import Ledger
from service.storage.private_files import make_private_directory, require_private
from service.storage.spool import Spool
from service.storage.spool_identity import require_own_spool

RESTORING: Final = "restoring"
"""A file in the state directory while `lobar restore` is at work, or after it was killed."""


class UnfinishedRestoreError(ExplainedError):
    """A restore into the state directory has not ended."""

    exit_status = EX_CONFIG


@contextmanager
def open_stores(settings: Settings) -> Iterator[tuple[Ledger, Spool]]:
    """Open the ledger, migrated to this version, and the spool; close them after the block.

    Raises:
        NotPrivateError: Other accounts of the machine can read the state directory, or own it.
        LedgerError: The database cannot be reached, or is of a newer version.
        WrongSpoolError: The spool is not the one of the ledger.
        OSError: The state directory cannot be written.
    """
    spool = open_spool(settings)
    with open_ledger(settings) as ledger:
        require_own_spool(ledger, spool)
        yield ledger, spool


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger, migrated to this version; close it after the block.

    Raises:
        NotPrivateError: Other accounts of the machine can read it.
        LedgerError: The database cannot be reached, or is of a newer version.
    """
    _make_private(settings)
    ledger = Ledger(settings.ledger_url, received_at_once=settings.ledger.received_at_once)
    try:
        ledger.upgrade()
        yield ledger
    finally:
        ledger.close()


def open_spool(settings: Settings) -> Spool:
    """Open the spool and create its directories.

    Raises:
        NotPrivateError: Other accounts of the machine can read the state directory, or own it.
        OSError: The state directory cannot be written.
    """
    _make_private(settings)
    spool = Spool(settings.spool_dir, reserve_bytes=settings.spool.reserve_bytes)
    spool.prepare()
    return spool


def _make_private(settings: Settings) -> None:
    """Create the state directory, readable by this account only: it holds patient data.

    A SQLite file elsewhere is held to the same.
    """
    state_dir = settings.state_dir.absolute()
    make_private_directory(state_dir)
    elsewhere = _sqlite_file(settings)
    if elsewhere is not None and elsewhere.exists():
        require_private(elsewhere, "ledger.url names")
    if (state_dir / RESTORING).exists():
        raise UnfinishedRestoreError(
            f"A restore into {state_dir} did not end: repeat `lobar restore`."
        )


def _sqlite_file(settings: Settings) -> Path | None:
    """Return the file of a SQLite ledger that the settings name."""
    path = (settings.ledger.url or "").removeprefix("sqlite:///")
    return Path(path.partition("?")[0]) if path != settings.ledger.url and path else None


def redis_url(settings: Settings) -> str:
    """Return the URL of the configured Redis.

    Raises:
        ConfigurationError: None is configured, and only `lobar up` starts one itself; or its
            password cannot be read.
    """
    url = settings.redis_url
    if url is None:
        raise ConfigurationError(
            "redis.url (LOBAR_REDIS__URL) is not set. A process that is started by itself needs "
            "the Redis that the other processes use; `lobar up` starts one."
        )
    return url
