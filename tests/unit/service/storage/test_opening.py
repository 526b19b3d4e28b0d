"""Ledger and spool are opened as the settings name them."""

from pathlib import Path

import pytest

from service.errors import EX_CONFIG, EX_UNAVAILABLE
from service.settings import ConfigurationError, Settings
from service.storage.ledger import LedgerError
from service.storage.opening import open_ledger, open_stores, redis_url


def test_a_state_directory_is_made_with_everything_in_it_and_can_be_opened_again(
    tmp_path: Path,
) -> None:
    settings = Settings(state_dir=tmp_path / "var" / "lobar", spool={"reserve_bytes": 0})
    for _ in range(2):
        with open_stores(settings) as (ledger, spool):
            assert ledger.queries.job_counts().received == 0
            spool.require_room()
    assert (tmp_path / "var" / "lobar").stat().st_mode & 0o077 == 0, "for this account only"
    assert {path.name for path in (tmp_path / "var" / "lobar").iterdir()} >= {
        "ledger.sqlite3",
        "spool",
    }


@pytest.mark.parametrize(
    "content", [b"not a database " * 100, b"SQLite format 3\0" + b"\xff" * 200]
)
def test_a_ledger_that_is_no_database_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(content)
    with pytest.raises(LedgerError) as raised, open_ledger(Settings(state_dir=tmp_path)):
        pytest.fail("it was opened")
    assert raised.value.exit_status == EX_UNAVAILABLE
    assert "\n" not in str(raised.value)


def test_a_state_directory_that_is_a_file_raises_what_names_it(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(OSError, match=r"exists|Not a directory") as raised:
        open_stores(Settings(state_dir=tmp_path / "state")).__enter__()
    assert str(raised.value.filename).startswith(str(tmp_path / "state"))


def test_a_process_started_by_itself_needs_a_configured_redis() -> None:
    with pytest.raises(ConfigurationError, match="LOBAR_REDIS__URL") as raised:
        redis_url(Settings())
    assert raised.value.exit_status == EX_CONFIG
    assert redis_url(Settings(redis={"url": "redis://h/1"})) == "redis://h/1"
