"""What holds patient data is refused while other accounts of the machine can read it."""

import os
from pathlib import Path

import pytest

from service.errors import EX_NOPERM
from service.settings import Settings
from service.storage.opening import open_ledger, open_spool, open_stores
from service.storage.private_files import NotPrivateError, require_private
from service.supervision.supervisor import sole_supervisor


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o770])
def test_a_state_directory_that_others_can_enter_is_refused_with_the_command_that_closes_it(
    tmp_path: Path, mode: int
) -> None:
    folder = tmp_path / "state of lobar"
    folder.mkdir()
    (folder / "ledger.sqlite3").touch()
    folder.chmod(mode)
    settings = Settings(state_dir=folder)
    with pytest.raises(NotPrivateError) as raised, open_stores(settings):
        pytest.fail("it was opened")
    assert raised.value.exit_status == EX_NOPERM
    message = str(raised.value)
    assert f"mode {mode:04o}" in message
    command = message.split("`")[1]
    assert command == f"chmod -R go= '{folder}'"
    assert os.system(command) == 0  # noqa: S605 -- what the message says to do
    with open_stores(settings):
        assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("opens", [open_spool, lambda settings: open_ledger(settings).__enter__()])
def test_no_command_uses_such_a_directory(tmp_path: Path, opens: object) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(NotPrivateError):
        opens(Settings(state_dir=folder))  # type: ignore[operator]
    with pytest.raises(NotPrivateError), sole_supervisor(folder):
        pytest.fail("it started")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_account_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 65534, -1)
    with pytest.raises(NotPrivateError, match="belongs to nobody, and this command runs as root"):
        open_spool(Settings(state_dir=folder))


def test_a_sqlite_ledger_elsewhere_is_held_to_the_same(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.sqlite3"
    settings = Settings(state_dir=tmp_path / "state", ledger={"url": f"sqlite:///{file}"})
    with open_ledger(settings):
        assert file.stat().st_mode & 0o077 == 0
    file.chmod(0o644)
    with pytest.raises(NotPrivateError, match=f"`chmod go= {file}`"), open_ledger(settings):
        pytest.fail("it was opened")


def test_what_is_private_is_left_alone(tmp_path: Path) -> None:
    require_private(tmp_path, "state_dir")
