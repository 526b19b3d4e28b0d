"""Statements whose text is made once for each kind of database, and given to its driver.

SQLAlchemy looks a statement up, orders its parameters and makes objects for its execution each
time; for a row of a few values that takes several times as long as SQLite takes to write it. A
receipt writes a row into each of five tables.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import JSON, Connection, Dialect, Insert, Select, Table, bindparam
from sqlalchemy.exc import DBAPIError

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Text:
    """A statement in the words of one database."""

    sql: str
    positions: Sequence[str] | None  # the names of its parameters in their order; None: by name
    json: Mapping[str, Callable[[Any], Any]]  # how its parameters of that type are written

    def parameters(self, values: Values) -> Any:  # noqa: ANN401 -- as the driver takes them
        if self.json:
            written = {name: write(values[name]) for name, write in self.json.items()}
            values = {**values, **written}
        return values if self.positions is None else tuple(map(values.__getitem__, self.positions))


class _Prepared:
    """A statement, and its text for each kind of database that it was executed on."""

    def __init__(self, statement: Insert | Select[Any]) -> None:
        self._statement: Final = statement
        self._texts: dict[type[Dialect], _Text] = {}

    def _text(self, dialect: Dialect) -> _Text:
        """Return the text for a database; threads that come first make the same one."""
        text = self._texts.get(type(dialect))
        if text is None:
            text = self._texts[type(dialect)] = _text(self._statement, dialect)
        return text


class PreparedInsert(_Prepared):
    """Inserts rows into a table.

    Args:
        table: The table.
        columns: The names of those columns of which each row has a value; all with a default of
            SQLAlchemy's are among them.
    """

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        values: dict[str, Any] = {each: bindparam(each) for each in columns}
        # inline: without the number of the row, which PostgreSQL would return
        super().__init__(table.insert().values(values).inline())

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Insert rows, at least one.

        Raises:
            DBAPIError: The database refused them.
        """
        text = self._text(connection.dialect)
        parameters = [text.parameters(row) for row in rows]
        try:
            with closing(connection.connection.cursor()) as cursor:
                if len(rows) == 1:
                    cursor.execute(text.sql, parameters[0])
                else:
                    cursor.executemany(text.sql, parameters)
        except connection.dialect.loaded_dbapi.Error as exc:
            raise _error(connection, exc) from exc


class PreparedSelect(_Prepared):
    """Selects columns that need no conversion: texts and numbers."""

    def run(self, connection: Connection, values: Values) -> Sequence[Sequence[Any]]:
        """Return all rows, each with its values in the order of the columns.

        Raises:
            DBAPIError: The database did not answer.
        """
        text = self._text(connection.dialect)
        try:
            with closing(connection.connection.cursor()) as cursor:
                cursor.execute(text.sql, text.parameters(values))
                return cursor.fetchall()
        except connection.dialect.loaded_dbapi.Error as exc:
            raise _error(connection, exc) from exc


def _text(statement: Insert | Select[Any], dialect: Dialect) -> _Text:
    compiled: Any = statement.compile(dialect=dialect)
    types = {name: bound.type.dialect_impl(dialect) for name, bound in compiled.binds.items()}
    return _Text(
        compiled.string,
        compiled.positiontup,
        {name: _writer(kind, dialect) for name, kind in types.items() if isinstance(kind, JSON)},
    )


def _writer(kind: Any, dialect: Dialect) -> Callable[[Any], Any]:  # noqa: ANN401 -- as SQLAlchemy
    write: Callable[[Any], Any] = kind.bind_processor(dialect)
    return write


def _error(connection: Connection, error: Any) -> Exception:  # noqa: ANN401 -- of any driver
    """Return what SQLAlchemy raises for an error of the driver, without the values of the row."""
    dialect = connection.dialect
    if dialect.is_disconnect(error, connection.connection, None):
        # fails too, so that SQLAlchemy gives up this connection, and those made before it
        connection.exec_driver_sql("SELECT 1")
    kind = dialect.loaded_dbapi.Error
    found: Exception = DBAPIError.instance(None, None, error, kind, dialect=dialect)
    return found
