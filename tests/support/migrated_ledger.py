"""A ledger whose tables are there, without the second that the migrations take in each test."""

import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import psycopg
from sqlalchemy import URL, make_url

from service.storage.ledger import Ledger
from support.system.programs import need_program

_DUMPS: Final[list[bytes]] = []


def open_ledger(url: str, clock: Callable[[], float] | None = None) -> Ledger:
    """Open a ledger with its tables; one that is not there yet, or is empty, becomes a copy."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        _fill_postgresql(parsed)
    elif parsed.database:
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


def _fill_postgresql(url: URL) -> None:
    """Fill an empty database: by the migrations, and from the second one on by their dump."""
    conninfo = psycopg.conninfo.make_conninfo(
        host=str(url.query["host"]), user=url.username, dbname=url.database
    )
    with psycopg.connect(conninfo) as connection:
        tables = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
        is_empty = tables.fetchone() is None
        if is_empty and _DUMPS:
            connection.execute(_DUMPS[0])
    if is_empty and not _DUMPS:
        ledger = Ledger(url.render_as_string(hide_password=False))
        ledger.upgrade()
        ledger.close()
        _DUMPS.append(_dump(conninfo))


def _dump(conninfo: str) -> bytes:
    """Dump a database as SQL, without the lines that only psql understands."""
    program = need_program("initdb").resolve().with_name("pg_dump")  # of the same version
    command = [str(program), "--inserts", "--no-owner", "--dbname", conninfo]
    dump = subprocess.run(command, check=True, capture_output=True).stdout
    return b"".join(line for line in dump.splitlines(keepends=True) if not line.startswith(b"\\"))
