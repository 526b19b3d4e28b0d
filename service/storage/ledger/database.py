"""The ledger's database: SQLite on one machine, PostgreSQL for several."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from service.errors import EX_UNAVAILABLE, ExplainedError
from service.storage.directories import make_directory

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_MIGRATION_LOCK: Final = 0x10BA5  # an arbitrary number, used by nothing else in this database
_BUSY_SECONDS: Final = 30


class LedgerError(ExplainedError):
    """The ledger did not respond or could not commit; nothing was recorded."""

    exit_status = EX_UNAVAILABLE


class Database:
    """Transactions on the ledger's database."""

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError as exc:
            raise LedgerError("ledger.url is not a database URL") from exc
        self._sqlite = self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self._sqlite and self.url.database:
            make_directory(Path(self.url.database).absolute().parent, mode=0o700)
        self.engine = _sqlite_engine(url) if self._sqlite else create_engine(url, pool_size=8)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run statements in one durable transaction, committed when the block ends.

        Raises:
            LedgerError: The database could not be reached, or could not commit.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as exc:
            raise LedgerError(_one_line(exc)) from exc

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Run queries on one consistent snapshot, without waiting for writers.

        Raises:
            LedgerError: The database could not be reached.
        """
        try:
            with self.engine.connect() as connection:
                yield connection.execution_options(**_snapshot(sqlite=self._sqlite))
        except SQLAlchemyError as exc:
            raise LedgerError(_one_line(exc)) from exc

    def upgrade(self, to: str | None = None) -> None:
        """Migrate the tables to this version; safe for several processes at once.

        Args:
            to: A revision at which to stop; None for the latest.

        Raises:
            LedgerError: The database could not be reached, or is of a newer version.
        """
        script = _migrations()
        try:
            with self._migration_lock(), self._connect_for_migration() as connection:
                present = MigrationContext.configure(connection).get_current_revision()
                known = {each.revision for each in script.walk_revisions()}
                if present is not None and present not in known:
                    raise LedgerError(
                        f"The ledger is at version {present}, which this version of Lobar does "
                        "not know: it was written by a newer one. Install that, or restore."
                    )
                connection.rollback()
                wanted = to or script.get_current_head()
                if wanted not in known:
                    raise LedgerError(
                        f"Version {wanted} of the ledger is of a newer Lobar: install that."
                    )
                if present != wanted:
                    config = _migration_config()
                    config.attributes["connection"] = connection
                    command.upgrade(config, wanted)
                    connection.commit()
        except SQLAlchemyError as exc:
            raise LedgerError(_one_line(exc)) from exc

    def is_current(self) -> bool:
        """Return whether the tables are of this version.

        Raises:
            LedgerError: The database could not be reached.
        """
        script = _migrations()
        with self.read() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
        return bool(present == script.get_current_head())

    @contextmanager
    def _connect_for_migration(self) -> Iterator[Connection]:
        """Connect for a migration, without enforcing foreign keys on SQLite.

        A migration changes a table on SQLite by replacing it, and dropping the old table would
        delete the rows that refer to it. The pragma has no effect inside a transaction, so it is
        set before one begins.
        """
        with self.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if self._sqlite:
                driver.execute("PRAGMA foreign_keys=OFF")
            try:
                yield connection
            finally:
                connection.rollback()
                if self._sqlite:
                    driver.execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def _migration_lock(self) -> Iterator[None]:
        """Hold a lock, so that one process migrates at a time."""
        if self._sqlite and self.url.database:
            with Path(f"{self.url.database}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        elif self._sqlite:
            yield
        else:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT pg_advisory_lock(:n)"), {"n": _MIGRATION_LOCK})
                connection.commit()
                try:
                    yield
                finally:
                    connection.execute(
                        text("SELECT pg_advisory_unlock(:n)"), {"n": _MIGRATION_LOCK}
                    )
                    connection.commit()

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def _migration_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


@cache
def _migrations() -> ScriptDirectory:
    """Read the migrations; they do not change while the process runs."""
    return ScriptDirectory.from_config(_migration_config())


def _snapshot(*, sqlite: bool) -> dict[str, Any]:
    return {"lobar_read": True} if sqlite else {"isolation_level": "REPEATABLE READ"}


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: object) -> None:  # noqa: ANN401 -- a DBAPI connection
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # a commit is on the disk when it returns
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a transaction that may write takes the write lock at once: one that reads first and then
        # writes would fail with SQLITE_BUSY instead of waiting
        reads = connection.get_execution_options().get("lobar_read", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _one_line(exc: SQLAlchemyError) -> str:
    """Return the database's message in one line, without the statement's parameters."""
    cause = getattr(exc, "orig", None) or exc
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"
