"""Copy the ledger out of one consistent snapshot, and into an empty database of any kind.

A copy has the tables and columns of its own version, as the database describes them, so that a
later version reads it: it makes the tables of that version, fills them and then migrates them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Final

from sqlalchemy import (
    Connection,
    MetaData,
    Table,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)

from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.versions import present_revision

NOT_COPIED: Final = frozenset(
    {"alembic_version", "sessions", "heartbeats", "breakers", "properties"}
)
"""Of the running processes, signed-in people, database and spool; they begin anew."""

_HOLDS_WORK: Final = ("jobs", "users", "audit", "verdicts", "requests")
_TALLIED: Final = "tally_changes"
_AT_ONCE: Final = 500

Cells = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """A file that the ledger refers to: received bytes, or an output of a kind."""

    job_id: str
    kind: str | None = None
    sop_instance_uid: str = ""


class Snapshot:
    """One moment of the ledger, while writers go on."""

    def __init__(self, connection: Connection, revision: str) -> None:
        self._connection = connection
        self.revision = revision
        self._metadata = MetaData()
        self._metadata.reflect(connection)

    def rows(self) -> Iterator[tuple[str, Cells]]:
        """Read all rows, each with the name of its table, after those that it refers to."""
        for table in self._metadata.sorted_tables:
            if table.name not in NOT_COPIED:
                query = select(table).order_by(*table.primary_key.columns)
                for row in self._connection.execute(query.execution_options(yield_per=_AT_ONCE)):
                    yield table.name, dict(row._mapping)  # noqa: SLF001 -- a public name

    def files(self) -> Iterator[SpooledFile]:
        """List the files of all jobs whose bytes retention did not take."""
        jobs, outputs = self._metadata.tables["jobs"], self._metadata.tables["outputs"]
        has_bytes = jobs.c.purged_at.is_(None)
        for row in self._connection.execute(select(jobs.c.id).where(has_bytes)):
            yield SpooledFile(row.id)
        made = (
            select(outputs.c.job_id, outputs.c.kind, outputs.c.sop_instance_uid)
            .join(jobs, jobs.c.id == outputs.c.job_id)
            .where(has_bytes)
        )
        for row in self._connection.execute(made):
            yield SpooledFile(*row)


class Transfer:
    """Reads the whole ledger, and fills an empty one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Read the ledger as of one moment; it is not migrated.

        Raises:
            LedgerError: There is none, or it could not be read.
        """
        with self._database.read() as connection:
            revision = present_revision(connection)
            if revision is None:
                raise LedgerError("There is no ledger in this database.")
            yield Snapshot(connection, revision)

    def is_empty(self) -> bool:
        """Return whether nothing was ever recorded.

        Raises:
            LedgerError: The database could not be reached.
        """
        with self._database.read() as connection:
            present = set(inspect(connection).get_table_names())
            metadata = MetaData()
            metadata.reflect(connection, only=[each for each in _HOLDS_WORK if each in present])
            return not any(
                connection.execute(select(func.count()).select_from(table)).scalar()
                for table in metadata.tables.values()
            )

    def fill(self, revision: str, rows: Iterable[tuple[str, Cells]]) -> None:
        """Make the tables of a revision, write rows in one transaction, and migrate them.

        Args:
            revision: The version of the rows.
            rows: What `Snapshot.rows` read, in this order.

        Raises:
            LedgerError: The revision is of a newer version, or the rows could not be written.
        """
        self._database.upgrade(revision)
        with self._database.write() as connection:
            metadata = MetaData()
            metadata.reflect(connection)
            tallied: list[Cells] = []
            for name, group in groupby(rows, key=lambda each: each[0]):
                if name in NOT_COPIED or name not in metadata.tables:
                    raise LedgerError(f"This version of the ledger has no table {name}.")
                of_table = (cells for _, cells in group)
                if name == _TALLIED:
                    tallied = list(of_table)
                else:
                    _fill_table(connection, metadata.tables[name], of_table)
            if _TALLIED in metadata.tables:  # triggers have counted the rows written above
                connection.execute(delete(metadata.tables[_TALLIED]))
                _fill_table(connection, metadata.tables[_TALLIED], iter(tallied))
        self._database.upgrade()


def _fill_table(connection: Connection, table: Table, rows: Iterator[Cells]) -> None:
    """Write the rows of a table; references between them are set when all are there."""
    if table.name in {"tallies", "audit_exports"}:  # a migration wrote their rows
        connection.execute(delete(table))
    within = [each.parent.name for each in table.foreign_keys if each.column.table is table]
    key = next(iter(table.primary_key.columns))
    references: dict[str, list[Cells]] = {name: [] for name in within}
    while some := list(islice(rows, _AT_ONCE)):
        for name, found in references.items():
            found += [
                {"its_key": row[key.name], "its_value": row[name]}
                for row in some
                if row[name] is not None
            ]
        connection.execute(insert(table), [row | dict.fromkeys(within) for row in some])
    for name, found in references.items():
        if found:
            refer = update(table).where(key == bindparam("its_key"))
            connection.execute(refer.values({name: bindparam("its_value")}), found)
    _go_on_counting(connection, table)


def _go_on_counting(connection: Connection, table: Table) -> None:
    """Let PostgreSQL number the next row after the last; SQLite does so by itself."""
    if connection.dialect.name != "postgresql" or "id" not in table.c:
        return
    sequence = connection.execute(select(func.pg_get_serial_sequence(table.name, "id"))).scalar()
    last = connection.execute(select(func.max(table.c.id))).scalar()
    if sequence is not None and last is not None:
        connection.execute(select(func.setval(sequence, last)))
