from collections.abc import Iterator
from pathlib import Path

import pytest
from support.migrated_ledger import open_ledger

from service.access.ways import first_user_notice, nobody_can_sign_in, ways
from service.domain.user import Role
from service.settings import Settings
from service.storage.ledger import Ledger
from service.supervision.notice import print_first_user_notice

PROXY = {"proxy_header": "X-User", "proxy_addresses": ["127.0.0.1"]}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    yield ledger
    ledger.close()


def test_at_the_first_start_one_line_says_how_to_make_the_first_user(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    print_first_user_notice(Settings(), ledger)
    (line,) = capsys.readouterr().out.splitlines()
    assert "`lobar user add NAME --role admin`" in line


def test_once_people_can_sign_in_nothing_is_printed(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    print_first_user_notice(Settings(sign_in=PROXY), ledger)
    assert not nobody_can_sign_in(Settings(sign_in=PROXY), ledger)
    ledger.users.add("anna", Role.ADMIN, None)
    print_first_user_notice(Settings(), ledger)
    assert capsys.readouterr().out == ""
    assert first_user_notice(Settings(), ledger) is None


def test_users_without_a_password_and_no_other_way_are_said(ledger: Ledger) -> None:
    ledger.users.add("anna", Role.ADMIN, None)
    assert ways(Settings(), ledger).startswith("no enabled user has a password")
