"""Sessions of people who signed in; the ledger keeps the digest of a token, never the token."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, insert, select, update

from service.domain.user import User
from service.storage.ledger.access.users import user_of
from service.storage.ledger.clock import Clock
from service.storage.ledger.database import Database
from service.storage.ledger.tables import SESSIONS, USERS

_TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that is valid now."""

    user: User
    csrf_token: str
    used_at: float
    expires_at: float


class Sessions:
    """Sessions of people who signed in."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def begin(self, user: str, *, seconds: float) -> str:
        """Begin a session of a user and return its token, which only the browser keeps."""
        token, now = secrets.token_urlsafe(_TOKEN_BYTES), self._clock().scheduled
        with self._database.write() as connection:
            connection.execute(delete(SESSIONS).where(SESSIONS.c.expires_at <= now))
            connection.execute(
                insert(SESSIONS).values(
                    token_sha256=digest(token),
                    user_name=user,
                    csrf_token=secrets.token_urlsafe(_TOKEN_BYTES),
                    started_at=now,
                    used_at=now,
                    expires_at=now + seconds,
                )
            )
        return token

    def find(self, token: str, *, idle_seconds: float) -> Session | None:
        """Return the session of a token; None if it is unknown, expired, idle or its user's gone.

        Args:
            token: As the browser sent it.
            idle_seconds: How long a session may be without a request.
        """
        now = self._clock().scheduled
        query = (
            select(USERS, SESSIONS.c.csrf_token, SESSIONS.c.used_at, SESSIONS.c.expires_at)
            .join(USERS, USERS.c.name == SESSIONS.c.user_name)
            .where(
                SESSIONS.c.token_sha256 == digest(token),
                SESSIONS.c.expires_at > now,
                SESSIONS.c.used_at > now - idle_seconds,
                USERS.c.disabled_at.is_(None),
            )
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return Session(
            user=user_of(row),
            csrf_token=row.csrf_token,
            used_at=row.used_at,
            expires_at=row.expires_at,
        )

    def touch(self, token: str) -> None:
        """Record that a session was used now."""
        now = self._clock().scheduled
        with self._database.write() as connection:
            connection.execute(
                update(SESSIONS).where(SESSIONS.c.token_sha256 == digest(token)).values(used_at=now)
            )

    def end(self, token: str) -> None:
        """End a session; safe to repeat."""
        with self._database.write() as connection:
            connection.execute(delete(SESSIONS).where(SESSIONS.c.token_sha256 == digest(token)))

    def end_all(self, user: str) -> int:
        """End all sessions of a user and return their number."""
        with self._database.write() as connection:
            return connection.execute(delete(SESSIONS).where(SESSIONS.c.user_name == user)).rowcount

    def counts(self) -> dict[str, int]:
        """Return how many sessions that have not expired each user has."""
        query = (
            select(SESSIONS.c.user_name, func.count())
            .where(SESSIONS.c.expires_at > self._clock().scheduled)
            .group_by(SESSIONS.c.user_name)
        )
        with self._database.read() as connection:
            return {row.user_name: row[1] for row in connection.execute(query)}


def digest(token: str) -> str:
    """Return the SHA-256 of a token, in hexadecimal; tokens are random, so it needs no salt."""
    return hashlib.sha256(token.encode()).hexdigest()
