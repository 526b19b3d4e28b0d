"""Tokens with which programs use the API; the ledger keeps their digests, never the tokens."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, func, insert, or_, select, update

from service.domain.user import Permission, User
from service.storage.ledger.access.sessions import digest
from service.storage.ledger.access.users import UserError, user_of
from service.storage.ledger.clock import Clock
from service.storage.ledger.database import Database
from service.storage.ledger.tables import API_TOKENS, USERS

PREFIX: Final = "lobar_"  # by which a person, or a scanner for secrets, recognises one
MOST_OF_A_USER: Final = 50  # that are not revoked
_TOKEN_BYTES: Final = 32
_ID_BYTES: Final = 8
_SECONDS_BETWEEN_NOTES: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """What is shown of a token; times are seconds since the epoch."""

    id: str
    user_name: str
    label: str
    scopes: frozenset[Permission]
    created_at: float
    expires_at: float | None = None
    used_at: float | None = None
    revoked_at: float | None = None


class ApiTokens:
    """The tokens of all users."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(
        self,
        user: str,
        *,
        label: str,
        scopes: Collection[Permission],
        seconds: float | None = None,
    ) -> tuple[ApiToken, str]:
        """Make a token of a user.

        Args:
            user: Its user, who may do at least what the scopes say for them to have an effect.
            label: What it is for.
            scopes: What it may do.
            seconds: How long it is valid; None for ever.

        Returns:
            What is shown of it, and the token itself, which cannot be had again.

        Raises:
            UserError: There is no such user, or it has too many tokens.
        """
        token, now = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES), self._clock()
        made = ApiToken(
            id=secrets.token_hex(_ID_BYTES),
            user_name=user,
            label=label,
            scopes=frozenset(scopes),
            created_at=now.wall,
            expires_at=None if seconds is None else now.scheduled + seconds,
        )
        valid = (
            select(func.count())
            .select_from(API_TOKENS)
            .where(API_TOKENS.c.user_name == user, API_TOKENS.c.revoked_at.is_(None))
        )
        owner = select(USERS.c.name).where(USERS.c.name == user).with_for_update()
        with self._database.write() as connection:
            if connection.execute(owner).one_or_none() is None:
                raise UserError(f"There is no user {user}.")
            if (connection.execute(valid).scalar() or 0) >= MOST_OF_A_USER:
                raise UserError(
                    f"{user} has {MOST_OF_A_USER} tokens: revoke those that are not needed."
                )
            connection.execute(
                insert(API_TOKENS).values(
                    id=made.id,
                    token_sha256=digest(token),
                    user_name=user,
                    label=label,
                    scopes=sorted(map(str, made.scopes)),
                    created_at=now.wall,
                    expires_at=made.expires_at,
                )
            )
        return made, token

    def find(self, token: str) -> tuple[User, ApiToken] | None:
        """Return a valid token's user and scopes, and note that it was used.

        None if it is unknown, expired or revoked, or its user is disabled.
        """
        now = self._clock()
        query = (
            select(USERS, *_SHOWN)
            .join(USERS, USERS.c.name == API_TOKENS.c.user_name)
            .where(
                API_TOKENS.c.token_sha256 == digest(token),
                API_TOKENS.c.revoked_at.is_(None),
                or_(API_TOKENS.c.expires_at.is_(None), API_TOKENS.c.expires_at > now.scheduled),
                USERS.c.disabled_at.is_(None),
            )
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        found = _token_of(row)
        # the wall clock may have been set back since
        if found.used_at is None or abs(now.wall - found.used_at) > _SECONDS_BETWEEN_NOTES:
            with self._database.write() as connection:
                connection.execute(
                    update(API_TOKENS).where(API_TOKENS.c.id == found.id).values(used_at=now.wall)
                )
        return user_of(row), found

    def of(self, user: str | None = None) -> list[ApiToken]:
        """List the tokens of a user, or of all, that are not revoked, the newest first."""
        query = (
            select(*_SHOWN)
            .where(API_TOKENS.c.revoked_at.is_(None))
            .order_by(API_TOKENS.c.created_at.desc(), API_TOKENS.c.id)
        )
        if user is not None:
            query = query.where(API_TOKENS.c.user_name == user)
        with self._database.read() as connection:
            return [_token_of(row) for row in connection.execute(query)]

    def revoke(self, token_id: str, user: str | None = None) -> ApiToken | None:
        """Revoke a token, of this user if one is named; None if there is no such valid one."""
        change = update(API_TOKENS).where(
            API_TOKENS.c.id == token_id, API_TOKENS.c.revoked_at.is_(None)
        )
        if user is not None:
            change = change.where(API_TOKENS.c.user_name == user)
        now = self._clock()
        with self._database.write() as connection:
            row = connection.execute(
                change.values(revoked_at=now.wall).returning(*_SHOWN)
            ).one_or_none()
        return None if row is None else _token_of(row)

    def revoke_all(self, user: str) -> int:
        """Revoke all tokens of a user and return their number."""
        now = self._clock()
        with self._database.write() as connection:
            done = connection.execute(
                update(API_TOKENS)
                .where(API_TOKENS.c.user_name == user, API_TOKENS.c.revoked_at.is_(None))
                .values(revoked_at=now.wall)
            )
        return done.rowcount


_SHOWN: Final = [column for column in API_TOKENS.c if column.name != "token_sha256"]


def _token_of(row: Row[Any]) -> ApiToken:
    mapping = row._mapping  # noqa: SLF001 -- SQLAlchemy's public name begins so
    values = {column.name: mapping[column] for column in _SHOWN}
    known = {str(each): each for each in Permission}  # a later version may have had more
    scopes = frozenset(known[each] for each in values["scopes"] if each in known)
    return ApiToken(**{**values, "scopes": scopes})
