"""The people who may sign in."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, func, insert, select

from service.domain.user import Role, User
from service.storage.ledger.database import Database
from service.storage.ledger.tables import USERS


class Users:
    """The people who may sign in."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def add(self, name: str, role: Role, password_hash: str | None) -> User:
        """Add a user.

        Raises:
            LedgerError: There is one of this name, or the ledger does not answer.
        """
        user = User(name=name, role=role, password_hash=password_hash, created_at=self._clock())
        with self._database.write() as connection:
            connection.execute(
                insert(USERS).values(
                    name=name,
                    role=str(role),
                    password_hash=password_hash,
                    created_at=user.created_at,
                )
            )
        return user

    def find(self, name: str) -> User | None:
        """Return the user of a name; None if there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(USERS).where(USERS.c.name == name)).one_or_none()
        return None if row is None else user_of(row)

    def are_there(self) -> bool:
        """Return whether there is any user: only then is a sign-in required."""
        with self._database.read() as connection:
            return bool(connection.execute(select(func.count()).select_from(USERS)).scalar())


def user_of(row: Row[Any]) -> User:
    """Read the user's columns of a row."""
    mapping = row._mapping  # noqa: SLF001 -- SQLAlchemy's public name begins so
    values = {column.name: mapping[column] for column in USERS.c}
    return User(**{**values, "role": Role(values["role"])})
