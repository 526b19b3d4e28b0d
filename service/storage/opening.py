"""The ledger, the spool and the bell's wire as a configuration names them, opened and closed."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.settings import ConfigurationError, Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool


@contextmanager
def open_stores(settings: Settings) -> Iterator[tuple[Ledger, Spool]]:
    """Open ledger and spool, made ready for this version.

    Raises:
        LedgerError: the database cannot be reached, or is of a newer version.
        OSError: the state directory cannot be written.
    """
    spool = open_spool(settings)
    with open_ledger(settings) as ledger:
        yield ledger, spool


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger, brought to this version.

    Raises:
        LedgerError: the database cannot be reached, or is of a newer version.
    """
    _make_private(settings)
    ledger = Ledger(settings.ledger_url)
    try:
        ledger.upgrade()
        yield ledger
    finally:
        ledger.close()


def open_spool(settings: Settings) -> Spool:
    """Open the spool, its rooms made.

    Raises:
        OSError: the state directory cannot be written.
    """
    _make_private(settings)
    spool = Spool(settings.spool_dir, reserve_bytes=settings.spool.reserve_bytes)
    spool.prepare()
    return spool


def _make_private(settings: Settings) -> None:
    """Keep patient data from the machine's other accounts, whoever makes the folder first."""
    state_dir = settings.state_dir.absolute()
    state_dir.parent.mkdir(parents=True, exist_ok=True)
    state_dir.mkdir(exist_ok=True, mode=0o700)


def redis_url(settings: Settings) -> str:
    """Give the Redis that is configured.

    Raises:
        ConfigurationError: none is; only `lobar up` starts one of its own.
    """
    if settings.redis.url is None:
        raise ConfigurationError(
            "redis.url (LOBAR_REDIS__URL) is not set. A part that runs by itself needs the Redis "
            "that the other parts use; `lobar up` starts one of its own."
        )
    return settings.redis.url
