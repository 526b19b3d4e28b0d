"""Users, sessions and tokens in the ledger, on SQLite and PostgreSQL."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, event
from support.migrated_ledger import open_ledger

from service.access.password_sign_in import PasswordSignIn
from service.access.passwords import Passwords
from service.access.provided_users import subject_sha256, user_of_proxy, user_of_subject
from service.domain.user import Permission, Role
from service.settings import SignInSettings
from service.storage.ledger import Ledger
from service.storage.ledger.access.users import UserError

PASSWORD = "correct horse battery staple"
AT_ONCE = 8


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = open_ledger(ledger_url)
    yield ledger
    ledger.close()


def at_once(number: int, work: Callable[[int], object]) -> list[object]:
    """Do a work in threads that begin together; return results and exceptions."""
    results: list[object] = [None] * number
    barrier = threading.Barrier(number)

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = work(index)
        except UserError as exc:
            results[index] = exc

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def failed(ledger: Ledger, clock: list[float]) -> float:
    """Count a wrong password; return for how long the user is locked out then."""
    ledger.users.failed("anna", limit=3, seconds=60, maximum_seconds=1000)
    user = ledger.users.find("anna")
    assert user is not None
    return (user.locked_until or clock[0]) - clock[0]


def test_a_lock_out_doubles_to_its_maximum_and_a_success_ends_the_count(ledger_url: str) -> None:
    clock = [1000.0]
    ledger = open_ledger(ledger_url, lambda: clock[0])
    ledger.users.add("anna", Role.VIEWER, "x")
    times = []
    for _ in range(9):
        times.append(failed(ledger, clock))
        clock[0] += times[-1]
    assert times == [0, 0, 60, 120, 240, 480, 960, 1000, 1000]
    assert ledger.users.succeeded("anna")
    assert failed(ledger, clock) == 0, "a success ends the count"
    ledger.close()


def test_nothing_counts_while_a_user_is_locked_out(ledger_url: str) -> None:
    clock = [1000.0]
    ledger = open_ledger(ledger_url, lambda: clock[0])
    ledger.users.add("anna", Role.VIEWER, "x")
    assert [failed(ledger, clock) for _ in range(6)] == [0, 0, 60, 60, 60, 60]
    assert not ledger.users.succeeded("anna")
    ledger.close()


def test_wrong_passwords_at_the_same_time_all_count(ledger: Ledger) -> None:
    ledger.users.add("anna", Role.VIEWER, "x")
    at_once(
        AT_ONCE,
        lambda _: ledger.users.failed("anna", limit=100, seconds=60, maximum_seconds=60),
    )
    user = ledger.users.find("anna")
    assert user is not None
    assert user.failures == AT_ONCE


def test_a_wrong_password_sends_the_ledger_the_same_whether_the_name_is_known(
    ledger: Ledger,
) -> None:
    passwords = Passwords()
    sign_in = PasswordSignIn(SignInSettings(), ledger, passwords)
    ledger.users.add("anna", Role.VIEWER, passwords.hash(PASSWORD))
    ledger.users.add("elsewhere", Role.VIEWER, None)
    statements: list[str] = []

    def note(*execution: object) -> None:
        statements.append(str(execution[2]))

    sent = []
    event.listen(Engine, "before_cursor_execute", note)
    try:
        for name in ("anna", "nobody", "elsewhere"):
            statements.clear()
            assert not sign_in.attempt(name, "a wrong password").succeeded
            sent.append(list(statements))
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert any(each.startswith("UPDATE") for each in sent[0])
    assert sent[0] == sent[1] == sent[2]
    assert [user.failures for user in ledger.users.all()] == [1, 0]


def test_people_sign_in_at_the_same_time(ledger: Ledger) -> None:
    passwords = Passwords()
    password_hash = passwords.hash(PASSWORD)
    sign_in = PasswordSignIn(SignInSettings(), ledger, passwords)
    for index in range(4):
        ledger.users.add(f"user{index}", Role.VIEWER, password_hash)

    def run(index: int) -> bool:
        name = f"user{index % 4}"
        done = sign_in.attempt(name, PASSWORD).succeeded
        token = ledger.sessions.begin(name, seconds=100)
        return done and ledger.sessions.find(token, idle_seconds=100) is not None

    assert at_once(AT_ONCE, run) == [True] * AT_ONCE
    assert ledger.sessions.counts() == {f"user{index}": 2 for index in range(4)}


def test_two_administrators_who_disable_each_other_do_not_both_succeed(ledger: Ledger) -> None:
    for name in ("ada", "bob"):
        ledger.users.add(name, Role.ADMIN, "x")
    results = at_once(2, lambda index: ledger.users.disable(("ada", "bob")[index]))
    assert sum(isinstance(each, UserError) for each in results) == 1
    assert sum(user.disabled_at is None for user in ledger.users.all()) == 1


def test_a_person_who_comes_from_the_provider_twice_at_once_is_one_user(ledger: Ledger) -> None:
    subject = subject_sha256("https://a.example", "1")
    at_once(AT_ONCE, lambda _: user_of_subject(ledger, subject, "anna", Role.VIEWER))
    at_once(AT_ONCE, lambda _: user_of_proxy(ledger, "bob", Role.VIEWER))
    assert [user.name for user in ledger.users.all()] == ["anna", "bob"]


def test_the_provider_may_take_the_role_of_the_last_administrator(ledger: Ledger) -> None:
    subject = subject_sha256("https://a.example", "1")
    user_of_subject(ledger, subject, "anna", Role.ADMIN)
    with pytest.raises(UserError, match="last enabled administrator"):
        ledger.users.set_role("anna", Role.VIEWER)
    found = user_of_subject(ledger, subject, "another", Role.VIEWER)
    assert (found.user.role, found.changes) == (Role.VIEWER, ("role",))
    assert user_of_subject(ledger, subject, "another", Role.VIEWER).changes == ()
    assert [user.name for user in ledger.users.all()] == ["anna"], "the name stays"


def test_changes_of_a_user_who_is_not_there_are_refused(ledger: Ledger) -> None:
    changes: list[Callable[[], object]] = [
        lambda: ledger.users.set_role("nobody", Role.ADMIN),
        lambda: ledger.users.set_password("nobody", "x"),
        lambda: ledger.users.disable("nobody"),
        lambda: ledger.users.enable("nobody"),
        lambda: ledger.users.bind("nobody", "0" * 64),
        lambda: ledger.api_tokens.add("nobody", label="a", scopes=[Permission.VIEW]),
    ]
    for change in changes:
        with pytest.raises(UserError, match="There is no user nobody"):
            change()
    ledger.users.failed("nobody", limit=1, seconds=1, maximum_seconds=1)
    assert not ledger.users.succeeded("nobody")
    ledger.users.add("anna", Role.VIEWER, None)
    with pytest.raises(UserError, match="already"):
        ledger.users.add("anna", Role.VIEWER, None)


def test_a_password_that_was_changed_meanwhile_is_not_put_back(ledger: Ledger) -> None:
    ledger.users.add("anna", Role.VIEWER, "old")
    ledger.users.set_password("anna", "new")
    ledger.users.rehash("anna", "old", "old with other parameters")
    user = ledger.users.find("anna")
    assert user is not None
    assert user.password_hash == "new"


def test_expired_sessions_are_removed_when_one_begins(ledger_url: str) -> None:
    past = open_ledger(ledger_url, lambda: time.time() - 1000)
    past.users.add("anna", Role.VIEWER, None)
    past.sessions.begin("anna", seconds=10)
    past.close()
    ledger = Ledger(ledger_url)
    assert ledger.sessions.counts() == {}
    ledger.sessions.begin("anna", seconds=10)
    assert ledger.sessions.end_all("anna") == 1
    ledger.close()
