"""Sign-in with name and password, with a lock-out after wrong ones."""

from dataclasses import dataclass
from typing import Final

from service.access.names import AccessError, is_possible, user_name
from service.access.passwords import Passwords
from service.domain.user import User
from service.settings import SignInSettings
from service.storage.ledger import Ledger

_NO_NAME: Final = ""  # of no user: an update for it finds no row


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt to sign in: whose, if the typed name is a user's, and whether it succeeded."""

    user: User | None
    succeeded: bool


class PasswordSignIn:
    """Verifies names and passwords against the ledger, which also keeps lock-outs."""

    def __init__(self, settings: SignInSettings, ledger: Ledger, passwords: Passwords) -> None:
        self._settings = settings
        self._ledger = ledger
        self._passwords = passwords

    def attempt(self, name: str, password: str) -> Attempt:
        """Verify a name and a password as they were typed.

        The same is computed, and the same statement sent to the ledger, for unknown, disabled and
        locked users. A wrong password counts
        towards a lock-out; while a user is locked out nothing counts, and the right one fails too.

        Raises:
            LedgerError: the ledger does not answer.
        """
        user = self._find(name)
        if not is_possible(password):
            return Attempt(user=user, succeeded=False)
        password_hash = user.password_hash if user else None
        is_right = self._passwords.is_right(password_hash, password)
        if user is None or password_hash is None:
            self._count_failure(_NO_NAME)
            return Attempt(user=user, succeeded=False)
        if not is_right:
            self._count_failure(user.name)
            return Attempt(user=user, succeeded=False)
        if not self._ledger.users.succeeded(user.name):
            return Attempt(user=user, succeeded=False)
        if self._passwords.is_outdated(password_hash):
            self._ledger.users.rehash(user.name, password_hash, self._passwords.hash(password))
        return Attempt(user=user, succeeded=True)

    def _find(self, name: str) -> User | None:
        try:
            return self._ledger.users.find(user_name(name))
        except AccessError:
            return None

    def _count_failure(self, name: str) -> None:
        self._ledger.users.failed(
            name,
            limit=self._settings.maximum_failures,
            seconds=self._settings.lock_seconds,
            maximum_seconds=self._settings.maximum_lock_seconds,
        )
