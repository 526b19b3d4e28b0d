"""A ledger knows its spool: an empty folder in its place is refused, and no job is parked."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import EX_TEMPFAIL
from service.settings import Settings
from service.settings.sections import LedgerSettings
from service.storage.ledger import Ledger
from service.storage.opening import open_stores
from service.storage.spool import Spool
from service.storage.spool_identity import NAME, WrongSpoolError, require_own_spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return prepared(tmp_path / "spool")


def prepared(root: Path) -> Spool:
    spool = Spool(root)
    spool.prepare()
    return spool


def test_a_ledger_takes_the_first_spool_and_refuses_any_other(
    ledger: Ledger, spool: Spool, tmp_path: Path
) -> None:
    require_own_spool(ledger, spool)
    require_own_spool(ledger, spool)
    said = (spool.root / NAME).read_text().strip()
    assert ledger.properties.spool() == said
    empty = prepared(tmp_path / "not mounted")
    with pytest.raises(WrongSpoolError, match=rf"not mounted is not the spool.*{said}.*mounted"):
        require_own_spool(ledger, empty)
    assert not (empty.root / NAME).exists()


def test_a_spool_of_another_ledger_is_refused_and_keeps_its_id(
    ledger: Ledger, spool: Spool, tmp_path: Path
) -> None:
    other = prepared(tmp_path / "other")
    (other.root / NAME).write_text("0" * 32)
    require_own_spool(ledger, spool)
    with pytest.raises(WrongSpoolError):
        require_own_spool(ledger, other)
    assert (other.root / NAME).read_text() == "0" * 32


def test_a_ledger_that_does_not_know_its_spool_takes_the_one_with_an_id(
    ledger: Ledger, spool: Spool
) -> None:
    (spool.root / NAME).write_text("a" * 32 + "\n")
    require_own_spool(ledger, spool)
    assert ledger.properties.spool() == "a" * 32


def test_a_spool_that_was_lost_is_replaced_by_writing_its_id(
    ledger: Ledger, spool: Spool, tmp_path: Path
) -> None:
    require_own_spool(ledger, spool)
    new = prepared(tmp_path / "new")
    (new.root / NAME).write_text(f"{ledger.properties.spool()}\n")
    require_own_spool(ledger, new)


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_first_start_that_was_interrupted_goes_on(
    ledger: Ledger, spool: Spool, *, is_recorded: bool
) -> None:
    (spool.root / NAME).touch()
    if is_recorded:
        ledger.properties.claim_spool("b" * 32)
    require_own_spool(ledger, spool)
    said = (spool.root / NAME).read_text().strip()
    assert ledger.properties.spool() == said
    assert (said == "b" * 32) == is_recorded
    require_own_spool(ledger, spool)


@pytest.mark.parametrize("text", ["x" * 32, "0" * 33, "\N{SNOWMAN}"])
def test_what_is_no_id_is_said_in_one_line(ledger: Ledger, spool: Spool, text: str) -> None:
    (spool.root / NAME).write_text(text)
    with pytest.raises(WrongSpoolError, match=r"^[^\n]*spool-id does not hold an id[^\n]*$"):
        require_own_spool(ledger, spool)
    assert ledger.properties.spool() is None


def test_a_part_that_starts_beside_the_wrong_spool_ends_before_it_touches_a_job(
    ledger: Ledger, ledger_url: str, spool: Spool, tmp_path: Path
) -> None:
    require_own_spool(ledger, spool)
    settings = Settings(state_dir=tmp_path / "state", ledger=LedgerSettings(url=ledger_url))
    with pytest.raises(WrongSpoolError) as raised, open_stores(settings):
        pytest.fail("it was opened")
    assert raised.value.exit_status == EX_TEMPFAIL


def test_nodes_that_start_at_once_agree(ledger_url: str, ledger: Ledger, spool: Spool) -> None:
    ledgers = [Ledger(ledger_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as nodes:
        list(nodes.map(lambda each: require_own_spool(each, spool), ledgers))
    for each in ledgers:
        each.close()
    assert ledger.properties.spool() == (spool.root / NAME).read_text().strip()
    assert [path.name for path in spool.root.glob("spool-id*")] == [NAME]
