"""The people who may sign in."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.user import Role, User
from service.errors import ExplainedError
from service.storage.ledger.clock import Clock
from service.storage.ledger.database import Database
from service.storage.ledger.tables import SESSIONS, USERS

LONGEST_DOUBLING: Final = 20  # of a lock-out: beyond every maximum


class UserError(ExplainedError):
    """A change of users is not possible; the message says why."""


class Users:
    """The people who may sign in."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(
        self, name: str, role: Role, password_hash: str | None, subject_sha256: str | None = None
    ) -> User:
        """Add a user.

        Args:
            name: In its one form (service/access/names.py).
            role: What the user may do.
            password_hash: None for one whom only an identity provider or a proxy signs in.
            subject_sha256: Whom the identity provider means, if it has signed the user in.

        Raises:
            UserError: There is one of this name.
            LedgerError: The ledger does not answer.
        """
        user = User(
            name=name,
            role=role,
            password_hash=password_hash,
            created_at=self._clock().wall,
            subject_sha256=subject_sha256,
        )
        values = {
            "name": name,
            "role": str(role),
            "password_hash": password_hash,
            "created_at": user.created_at,
            "subject_sha256": subject_sha256,
        }
        with self._database.write() as connection:
            try:
                connection.execute(insert(USERS).values(values))
            except IntegrityError as exc:
                raise UserError(f"There is a user {name} already.") from exc
        return user

    def find(self, name: str) -> User | None:
        """Return the user of a name; None if there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(USERS).where(USERS.c.name == name)).one_or_none()
        return None if row is None else user_of(row)

    def find_subject(self, subject_sha256: str) -> User | None:
        """Return the user whom the identity provider means; None if there is none."""
        query = select(USERS).where(USERS.c.subject_sha256 == subject_sha256)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else user_of(row)

    def all(self) -> list[User]:
        """List the users by name."""
        with self._database.read() as connection:
            return [user_of(row) for row in connection.execute(select(USERS).order_by("name"))]

    def are_there(self) -> bool:
        """Return whether there is any user: only then is a sign-in required."""
        with self._database.read() as connection:
            return bool(connection.execute(select(func.count()).select_from(USERS)).scalar())

    def set_password(self, name: str, password_hash: str) -> None:
        """Change a password; ends the user's sessions and lock-out.

        Raises:
            UserError: There is no such user.
        """
        with self._database.write() as connection:
            _locked_row(connection, name)
            _update(connection, name, password_hash=password_hash, failures=0, locked_until=None)
            _end_sessions(connection, name)

    def rehash(self, name: str, old: str, new: str) -> None:
        """Keep the same password with other parameters, unless it was changed meanwhile."""
        with self._database.write() as connection:
            connection.execute(
                update(USERS)
                .where(USERS.c.name == name, USERS.c.password_hash == old)
                .values(password_hash=new)
            )

    def set_role(self, name: str, role: Role, *, by_provider: bool = False) -> bool:
        """Change a role; ends the user's sessions. Returns whether it was another.

        Args:
            name: The user.
            role: The new role.
            by_provider: An identity provider or a proxy said so, which can undo it: then the
                last administrator may lose the role.

        Raises:
            UserError: There is no such user, or it is the last administrator.
        """
        with self._database.write() as connection:
            administrators = _locked_administrators(connection)
            user = _locked_row(connection, name)
            if user.role is role:
                return False
            if not by_provider:
                _require_another_administrator(user, administrators)
            _update(connection, name, role=str(role))
            _end_sessions(connection, name)
        return True

    def bind(self, name: str, subject_sha256: str) -> None:
        """Record whom the identity provider means by a user that has neither subject nor password.

        Raises:
            UserError: The user has one of them, or there is no such user.
        """
        with self._database.write() as connection:
            user = _locked_row(connection, name)
            if user.password_hash is not None or user.subject_sha256 is not None:
                raise UserError(f"The user {name} signs in another way.")
            _update(connection, name, subject_sha256=subject_sha256)

    def disable(self, name: str) -> None:
        """Let a user not sign in any more; ends the sessions. Safe to repeat.

        Raises:
            UserError: There is no such user, or it is the last administrator.
        """
        now = self._clock()
        with self._database.write() as connection:
            administrators = _locked_administrators(connection)
            user = _locked_row(connection, name)
            if user.disabled_at is None:
                _require_another_administrator(user, administrators)
                _update(connection, name, disabled_at=now.wall)
            _end_sessions(connection, name)

    def enable(self, name: str) -> None:
        """Let a user sign in again; ends a lock-out too.

        Raises:
            UserError: There is no such user.
        """
        with self._database.write() as connection:
            _locked_row(connection, name)
            _update(connection, name, disabled_at=None, failures=0, locked_until=None)

    def failed(self, name: str, *, limit: int, seconds: float, maximum_seconds: float) -> None:
        """Count a wrong password; lock the user out from `limit` on, each time twice as long.

        While a lock-out lasts nothing is counted, so that nobody can prolong it.
        """
        now = self._clock().scheduled
        with self._database.write() as connection:
            failures = connection.execute(
                update(USERS)
                .where(USERS.c.name == name, _is_not_locked(now))
                .values(failures=USERS.c.failures + 1)
                .returning(USERS.c.failures)
            ).scalar()
            if failures is not None and failures >= limit:
                doublings = min(failures - limit, LONGEST_DOUBLING)
                locked = min(seconds * 2**doublings, maximum_seconds)
                _update(connection, name, locked_until=now + locked)

    def succeeded(self, name: str) -> bool:
        """Forget wrong passwords, unless the user is locked out or disabled by now.

        Returns:
            Whether the user may sign in.
        """
        now = self._clock().scheduled
        with self._database.write() as connection:
            done = connection.execute(
                update(USERS)
                .where(
                    USERS.c.name == name,
                    USERS.c.disabled_at.is_(None),
                    _is_not_locked(now),
                )
                .values(failures=0, locked_until=None)
            )
        return done.rowcount == 1


def user_of(row: Row[Any]) -> User:
    """Read the user's columns of a row."""
    mapping = row._mapping  # noqa: SLF001 -- SQLAlchemy's public name begins so
    values = {column.name: mapping[column] for column in USERS.c}
    return User(**{**values, "role": Role(values["role"])})


def _locked_row(connection: Connection, name: str) -> User:
    """Read a user and keep other transactions from changing it until this one ends."""
    query = select(USERS).where(USERS.c.name == name).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UserError(f"There is no user {name}.")
    return user_of(row)


def _locked_administrators(connection: Connection) -> list[str]:
    """List the enabled administrators, before any other row is locked.

    Two administrators who disable each other at once so wait for one another, in one order.
    """
    enabled = (
        select(USERS.c.name)
        .where(USERS.c.role == str(Role.ADMIN), USERS.c.disabled_at.is_(None))
        .order_by(USERS.c.name)
        .with_for_update()
    )
    return list(connection.execute(enabled).scalars())


def _require_another_administrator(user: User, administrators: list[str]) -> None:
    if administrators == [user.name]:
        raise UserError(
            f"{user.name} is the last enabled administrator: make another first "
            "(`lobar user role NAME admin`)."
        )


def _is_not_locked(now: float) -> ColumnElement[bool]:
    return or_(USERS.c.locked_until.is_(None), USERS.c.locked_until <= now)


def _update(connection: Connection, name: str, **values: object) -> None:
    connection.execute(update(USERS).where(USERS.c.name == name).values(**values))


def _end_sessions(connection: Connection, name: str) -> None:
    connection.execute(delete(SESSIONS).where(SESSIONS.c.user_name == name))
