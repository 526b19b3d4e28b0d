from typing import Literal

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY

from service.access.passwords import Passwords

WEAK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_a_hash_is_of_its_password_only_and_salted() -> None:
    passwords = Passwords()
    first, second = (passwords.hash("correct horse battery") for _ in range(2))
    assert first != second
    assert passwords.is_right(first, "correct horse battery")
    assert not passwords.is_right(first, "correct horse batterx")


def test_the_parameters_are_those_of_rfc_9106() -> None:
    assert extract_parameters(Passwords().hash("correct horse battery")) == RFC_9106_LOW_MEMORY


def test_nobodys_password_is_wrong_and_is_computed_all_the_same() -> None:
    verified: list[str] = []

    class Counting(PasswordHasher):
        """The hasher itself, which also writes down which hashes it was asked for."""

        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
            verified.append(str(hash))
            return super().verify(hash, password)

    passwords = Passwords(Counting(time_cost=1, memory_cost=8, parallelism=1))
    known = passwords.hash("correct horse battery")
    assert not passwords.is_right(None, "correct horse battery")
    assert passwords.is_right(known, "correct horse battery")
    of_nobody, of_somebody = map(extract_parameters, verified)
    assert of_nobody == of_somebody, "the same work"


@pytest.mark.parametrize("broken", ["", "x", "$argon2id$v=19$m=8,t=1,p=1$x$y", "\u00e9"])
def test_a_hash_that_is_none_matches_no_password(broken: str) -> None:
    assert not Passwords(WEAK).is_right(broken, "correct horse battery")


def test_a_hash_with_other_parameters_is_outdated() -> None:
    weak = Passwords(WEAK).hash("correct horse battery")
    assert Passwords().is_outdated(weak)
    assert not Passwords(WEAK).is_outdated(weak)
