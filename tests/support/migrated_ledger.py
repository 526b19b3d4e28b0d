"""A ledger whose tables are there, without the second that the migrations take in each test."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from sqlalchemy import make_url

from service.storage.ledger import Ledger


def open_ledger(url: str, clock: Callable[[], float] | None = None) -> Ledger:
    """Open a ledger with its tables; an SQLite ledger that is not there yet becomes a copy."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        path = Path(parsed.database)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            path.write_bytes(_migrated())
    ledger = Ledger(url, clock)
    ledger.upgrade()
    return ledger


@cache
def _migrated() -> bytes:
    """Migrate an SQLite ledger, once in each process of tests, and return its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite3"
        ledger = Ledger(f"sqlite:///{path}")
        ledger.upgrade()
        ledger.close()
        return path.read_bytes()
