"""Change users and tokens from the command line, and print them."""

import getpass
import json
import sys
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.access.names import AccessError, new_password, token_label, user_name
from service.access.passwords import Passwords
from service.audit.recording import record_command
from service.domain.audit import Action
from service.domain.user import Permission, Role, User, permissions_of
from service.storage.ledger import Ledger
from service.storage.ledger.access.users import UserError

DAY_SECONDS: Final = 86400
_KEYS: Final = ("name", "number")  # what another command takes, in one piece
_LARGEST_INPUT: Final = 4096  # bytes: more is no password


class Users:
    """Changes users and records that; each method returns one line for the person."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def require_new(self, name: str) -> str:
        """Return a name that no user has, before a password is asked for.

        Raises:
            AccessError: It is no name.
            UserError: There is a user of this name.
        """
        name = user_name(name)
        if self._ledger.users.find(name) is not None:
            raise UserError(f"There is a user {name} already.")
        return name

    def require_known(self, name: str) -> str:
        """Return the name of a user, in its one form.

        Raises:
            AccessError: It is no name.
            UserError: There is no such user.
        """
        name = user_name(name)
        if self._ledger.users.find(name) is None:
            raise UserError(f"There is no user {name}.")
        return name

    def add(self, name: str, role: Role, password: str | None) -> str:
        """Add a user; without a password, one who signs in elsewhere."""
        password_hash = None if password is None else Passwords().hash(password)
        self._ledger.users.add(name, role, password_hash)
        record_command(self._ledger, Action.USER, user=name, change="add", new_role=str(role))
        return f"{name} is added as {role}."

    def set_role(self, name: str, role: Role) -> str:
        """Change a user's role."""
        name = user_name(name)
        self._ledger.users.set_role(name, role)
        record_command(self._ledger, Action.USER, user=name, change="role", new_role=str(role))
        return f"{name} is {role}."

    def set_password(self, name: str, password: str) -> str:
        """Change a user's password."""
        self._ledger.users.set_password(name, Passwords().hash(password))
        record_command(self._ledger, Action.USER, user=name, change="password")
        return f"The password of {name} is set; the sessions of {name} have ended."

    def disable(self, name: str) -> str:
        """Disable a user."""
        name = user_name(name)
        self._ledger.users.disable(name)
        record_command(self._ledger, Action.USER, user=name, change="disable")
        return f"{name} is disabled."

    def enable(self, name: str) -> str:
        """Enable a user, and end a lock-out."""
        name = user_name(name)
        self._ledger.users.enable(name)
        record_command(self._ledger, Action.USER, user=name, change="enable")
        return f"{name} is enabled."


def read_password(*, from_stdin: bool) -> str:
    """Read a new password: from standard input, or twice from the terminal.

    Raises:
        AccessError: It cannot be used, the two differ, or there is no terminal.
    """
    if from_stdin:
        try:
            line = sys.stdin.buffer.readline(_LARGEST_INPUT).decode()
        except UnicodeDecodeError as exc:
            raise AccessError("The password on standard input is not UTF-8.") from exc
        return new_password(line.rstrip("\r\n"))
    if not sys.stdin.isatty():
        raise AccessError("There is no terminal to ask for a password: use --password-stdin.")
    password = new_password(getpass.getpass("Password (at least 12 characters): "))
    if getpass.getpass("Again: ") != password:
        raise AccessError("The two passwords differ.")
    return password


def print_users(ledger: Ledger, *, as_json: bool) -> None:
    """Print all users."""
    now = ledger.now()
    rows = [
        {
            "name": user.name,
            "role": str(user.role),
            "state": _state(user, now),
            "signs_in": _way(user),
            "created_at": user.created_at,
        }
        for user in ledger.users.all()
    ]
    _print(rows, as_json=as_json, nothing="There is no user. `lobar user add` makes the first.")


def add_token(
    ledger: Ledger,
    name: str,
    *,
    label: str,
    scopes: Collection[Permission],
    days: int | None,
) -> str:
    """Make a token of a user, and return it.

    Raises:
        AccessError: The label cannot be used, or the user's role lacks a scope.
        UserError: There is no such user.
    """
    name, label = user_name(name), token_label(label)
    user = ledger.users.find(name)
    if user is None:
        raise UserError(f"There is no user {name}.")
    lacking = sorted(set(scopes) - permissions_of(user.role))
    if lacking:
        raise AccessError(f"The role of {name}, {user.role}, does not include: {lacking[0]}.")
    seconds = None if days is None else days * DAY_SECONDS
    token, secret = ledger.api_tokens.add(name, label=label, scopes=scopes, seconds=seconds)
    record_command(ledger, Action.TOKEN, user=name, change="add", token=token.id)
    return secret


def print_tokens(ledger: Ledger, name: str, *, as_json: bool) -> None:
    """Print the tokens of a user, or of all, that are not revoked."""
    rows = [
        {
            "number": token.id,
            "user": token.user_name,
            "label": token.label,
            "scopes": ", ".join(sorted(token.scopes)),
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            "used_at": token.used_at,
        }
        for token in ledger.api_tokens.of(user_name(name) if name else None)
    ]
    _print(rows, as_json=as_json, nothing="There is no token.")


def revoke_token(ledger: Ledger, number: str) -> str:
    """Revoke a token.

    Raises:
        UserError: There is no such token.
    """
    token = ledger.api_tokens.revoke(number) if number.isalnum() else None
    if token is None:
        raise UserError("There is no such token. `lobar token list` shows the numbers.")
    record_command(ledger, Action.TOKEN, user=token.user_name, change="revoke", token=token.id)
    return f"The token {token.id} of {token.user_name} is revoked."


def _state(user: User, now: float) -> str:
    if user.disabled_at is not None:
        return "disabled"
    return "locked" if user.locked_until is not None and user.locked_until > now else "enabled"


def _way(user: User) -> str:
    if user.password_hash is not None:
        return "password"
    return "identity provider" if user.subject_sha256 is not None else "elsewhere"


def _print(rows: Iterable[Mapping[str, Any]], *, as_json: bool, nothing: str) -> None:
    rows = list(rows)
    console = Console(highlight=False)
    if as_json:
        console.print_json(json.dumps(rows))
    elif not rows:
        console.print(nothing, markup=False)
    else:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in rows[0]:
            title = column.removesuffix("_at").replace("_", " ")
            table.add_column(title, overflow="fold", no_wrap=column in _KEYS)
        for row in rows:
            table.add_row(*(Text(_cell(name, value)) for name, value in row.items()))
        console.print(table)


def _cell(name: str, value: object) -> str:
    if value is None:
        return "never"
    if name.endswith("_at") and isinstance(value, float):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return str(value)
