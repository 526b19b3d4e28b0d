"""Hashes of passwords: Argon2id with the parameters of RFC 9106, as argon2-cffi chooses them."""

import secrets
import threading
from functools import cached_property
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from service.access.names import password_bytes

_AT_ONCE: Final = 2  # each takes 64 MiB and four threads


class Passwords:
    """Hashes and verifies passwords, a few at a time."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._turn = threading.BoundedSemaphore(_AT_ONCE)

    def hash(self, password: str) -> str:
        """Return the salted hash of a password, with its parameters."""
        with self._turn:
            return self._hasher.hash(password_bytes(password))

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_bytes(16))

    def is_right(self, password_hash: str | None, password: str) -> bool:
        """Return whether a password is that of a hash.

        Without a hash the same is computed in vain, so that the time says nothing about whether a
        user exists.
        """
        with self._turn:
            try:
                self._hasher.verify(password_hash or self._nobodys, password_bytes(password))
            except (VerificationError, InvalidHashError, UnicodeEncodeError):
                return False
        return password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether a hash has other parameters than new ones."""
        return self._hasher.check_needs_rehash(password_hash)
