"""The ledger's database: SQLite on one machine, PostgreSQL for several."""

import fcntl
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from service.errors import EX_UNAVAILABLE, ExplainedError
from service.storage.directories import make_directory
from service.storage.ledger.migrations import known_revisions, latest_revision, migrate
from service.storage.ledger.versions import oldest_that_works_with, present_revision
from service.storage.ledger.writing_turn import TurnTakenError, WritingTurn

_MIGRATION_LOCK: Final = 0x10BA5  # an arbitrary number, used by nothing else in this database
_BUSY_SECONDS: Final = 30


class LedgerError(ExplainedError):
    """The ledger did not respond or could not commit; nothing was recorded."""

    exit_status = EX_UNAVAILABLE


class Database:
    """Transactions on the ledger's database.

    Args:
        url: as SQLAlchemy reads it.
        busy_seconds: for how long a writer of SQLite waits for the others.
    """

    def __init__(self, url: str, *, busy_seconds: float = _BUSY_SECONDS) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError as exc:
            raise LedgerError("ledger.url is not a database URL") from exc
        self._busy_seconds = busy_seconds
        self._sqlite = self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self._sqlite and self.url.database:
            make_directory(Path(self.url.database).absolute().parent, mode=0o700)
        if self._sqlite:
            self.engine = _sqlite_engine(url, busy_seconds)
            self._writing: AbstractContextManager[None] = WritingTurn(
                busy_seconds, _turn_path(self.url.database)
            )
        else:
            # psycopg would return bytes from a database of SQL_ASCII, in all that SQLAlchemy asks
            self.engine = create_engine(url, pool_size=8, connect_args={"client_encoding": "utf8"})
            self._writing = nullcontext()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run statements in one durable transaction, committed when the block ends.

        Raises:
            LedgerError: The database could not be reached, or could not commit.
        """
        try:
            with self._writing, self.engine.begin() as connection:
                yield connection
        except TurnTakenError as exc:
            message = f"Other threads wrote for {self._busy_seconds:g} seconds; try again."
            raise LedgerError(message) from exc
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

        Nothing is changed where a newer version migrated them and this one works with them too.

        Args:
            to: A revision at which to stop; None for the latest.

        Raises:
            LedgerError: The database could not be reached, is of a newer version that this one does
                not work with, or is empty and cannot hold every character.
        """
        known = known_revisions()
        wanted = to or latest_revision()
        try:
            with self._migration_lock(), self._connect_for_migration() as connection:
                present = present_revision(connection)
                if present is None:
                    _require_unicode(connection)
                elif present not in known:
                    _require_to_work_with(connection, present, known)
                    return
                connection.rollback()
                if wanted not in known:
                    raise LedgerError(
                        f"Version {wanted} of the ledger is of a newer Lobar: install that."
                    )
                if present != wanted:
                    migrate(connection, wanted)
                    connection.commit()
        except SQLAlchemyError as exc:
            raise LedgerError(_one_line(exc)) from exc

    def is_current(self) -> bool:
        """Return whether the tables are of this version, or of a newer one that it works with.

        Raises:
            LedgerError: The database could not be reached.
        """
        with self.read() as connection:
            present = present_revision(connection)
            if present == latest_revision() or present is None:
                return present is not None
            known = known_revisions()
            return present not in known and oldest_that_works_with(connection, present) in known

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
        if isinstance(self._writing, WritingTurn):
            self._writing.close()


def _turn_path(database: str | None) -> Path | None:
    """Return where processes take turns; hidden, as reading all files would wait there."""
    if not database:
        return None
    path = Path(database)
    return path.with_name(f".{path.name}.turn")


def _require_unicode(connection: Connection) -> None:
    """Require that an empty database can hold the names of all patients.

    Raises:
        LedgerError: It cannot.
    """
    if connection.dialect.name == "sqlite":
        return
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise LedgerError(
            f"The database has the encoding {encoding}, which cannot hold every name. Create it "
            "with: CREATE DATABASE lobar ENCODING 'UTF8' TEMPLATE template0."
        )


def _require_to_work_with(connection: Connection, present: str, known: Collection[str]) -> None:
    """Require that a newer migration, which this version does not know, only added to the tables.

    Raises:
        LedgerError: It did not, or is not known to.
    """
    if oldest_that_works_with(connection, present) not in known:
        raise LedgerError(
            f"The ledger is at version {present}, which this version of Lobar does not know: it "
            "was written by a newer one. Install that, or restore."
        )


def _snapshot(*, sqlite: bool) -> dict[str, Any]:
    return {"lobar_read": True} if sqlite else {"isolation_level": "REPEATABLE READ"}


def _sqlite_engine(url: str, busy_seconds: float) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": busy_seconds, "isolation_level": None},
        pool_reset_on_return=None,  # every transaction is ended before its connection is returned
    )

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
