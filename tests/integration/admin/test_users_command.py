"""`lobar user` and `lobar token`, as an operator uses them and docs/sign_in.md shows them."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.migrated_ledger import open_ledger

from service.access.passwords import Passwords
from service.domain.audit import Action
from service.domain.user import Role
from service.settings import environment_without_settings
from service.storage.ledger import Ledger

PASSWORD = "correct horse battery staple"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **environment_without_settings(),
        "COLUMNS": "160",
        "LOBAR_STATE_DIR": str(tmp_path / "state"),
    }


@pytest.fixture
def lobar(tmp_path: Path, environment: dict[str, str]) -> Run:
    """`lobar("user", "list", stdin=…)` runs the command in its own folder."""

    def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", *words],
            input=stdin,
            env={**environment, "PYTHONPATH": str(Path(__file__).parents[3])},
            cwd=tmp_path,
            capture_output=True,
            check=False,
            timeout=120,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(f"sqlite:///{tmp_path / 'state' / 'ledger.sqlite3'}")


def test_the_life_of_a_user(lobar: Run, ledger: Ledger) -> None:
    password = f"{PASSWORD}\n".encode()
    assert "There is no user." in lobar("user", "list").stdout
    added = lobar("user", "add", "Ada", "--role", "admin", "--password-stdin", stdin=password)
    assert (added.returncode, added.stdout) == (0, "ada is added as admin.\n")
    user = ledger.users.find("ada")
    assert user is not None
    assert Passwords().is_right(user.password_hash, PASSWORD)

    lobar("user", "add", "bob", "--role", "viewer", "--without-password")
    session = ledger.sessions.begin("bob", seconds=100)
    assert lobar("user", "role", "bob", "operator").stdout == "bob is operator.\n"
    assert ledger.sessions.find(session, idle_seconds=100) is None
    assert lobar("user", "disable", "bob").returncode == 0
    users = json.loads(lobar("user", "list", "--json").stdout)
    assert [(each["name"], each["role"], each["state"], each["signs_in"]) for each in users] == [
        ("ada", "admin", "enabled", "password"),
        ("bob", "operator", "disabled", "elsewhere"),
    ]
    assert lobar("user", "enable", "bob").returncode == 0
    assert lobar("user", "password", "bob", "--password-stdin", stdin=password).returncode == 0
    refused = lobar("user", "disable", "ada")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "ada is the last enabled administrator" in refused.stderr

    records = ledger.audit.recent()
    assert {each.action for each in records} == {Action.USER}
    assert [each.detail["change"] for each in records] == [
        *("password", "enable", "disable", "role", "add", "add"),
    ]
    assert all(each.user == "" and each.detail["by"] == "command" for each in records)
    assert all(each.detail["account"] for each in records), "of the operating system"
    ledger.close()


def test_the_life_of_a_token(lobar: Run, ledger: Ledger) -> None:
    ledger.users.add("bob", Role.VIEWER, None)
    made = lobar("token", "add", "bob", "--label", "[red]PACS", "--scope", "view", "--days", "3")
    token = made.stdout.strip()
    assert token.startswith("lobar_")
    assert ledger.api_tokens.find(token) is not None
    (shown,) = json.loads(lobar("token", "list", "--json").stdout)
    assert shown["label"] == "[red]PACS"
    assert 0 < shown["expires_at"] - time.time() <= 3 * 86400
    listed = lobar("token", "list", "--user", "bob").stdout
    assert shown["number"] in listed
    assert "[red]PACS" in listed
    assert token not in listed
    assert lobar("token", "revoke", shown["number"]).returncode == 0
    assert ledger.api_tokens.find(token) is None
    assert "There is no token." in lobar("token", "list").stdout
    assert [each.action for each in ledger.audit.recent()] == [Action.TOKEN, Action.TOKEN]
    assert token not in str(ledger.audit.recent())
    ledger.close()


@pytest.mark.parametrize(
    ("words", "stdin", "status", "said"),
    [
        ("user add bob --role viewer", b"", 2, "There is no terminal"),
        ("user add bob --role viewer --password-stdin", b"", 2, "at least 12 characters"),
        ("user add bob --role viewer --password-stdin", b"\xff" * 20, 2, "is not UTF-8"),
        ("user add bob --role viewer --password-stdin", b"x" * 9999, 2, "at most 1024 bytes"),
        ("user add bob --role viewer --password-stdin --without-password", b"", 2, "Choose"),
        ("user add a/b --role viewer --without-password", b"", 2, "1 to 64 letters"),
        ("user add ada --role viewer --password-stdin", b"", 1, "There is a user ada already"),
        ("user add bob --role boss --without-password", b"", 2, "boss"),
        ("user role nobody viewer", b"", 1, "There is no user nobody"),
        ("user password nobody --password-stdin", b"", 1, "There is no user nobody"),
        ("user disable nobody", b"", 1, "There is no user nobody"),
        ("user enable ..", b"", 2, "1 to 64 letters"),
        ("token add nobody --label a --scope view", b"", 1, "There is no user nobody"),
        ("token add ada --label a --scope verdict", b"", 2, "does not include: verdict"),
        ("token add ada --label a --scope all", b"", 2, "all"),
        ("token add ada --label a", b"", 2, "--scope"),
        ("token add ada --label a --scope view --days 0", b"", 2, "days"),
        ("token revoke ../x", b"", 1, "There is no such token"),
        ("token list --user a/b", b"", 2, "1 to 64 letters"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(
    lobar: Run, ledger: Ledger, words: str, stdin: bytes, status: int, said: str
) -> None:
    ledger.users.add("ada", Role.ADMIN, None)
    done = lobar(*words.split(), stdin=stdin)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert [user.name for user in ledger.users.all()] == ["ada"]
    ledger.close()


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ([PASSWORD, PASSWORD], 0, "bob is added"),
        ([PASSWORD, "another " + PASSWORD], 2, "The two passwords differ"),
        (["short"], 2, "at least 12 characters"),
    ],
)
def test_a_password_is_asked_for_twice_and_not_shown(
    tmp_path: Path,
    environment: dict[str, str],
    ledger: Ledger,
    typed: list[str],
    status: int,
    said: str,
) -> None:
    del ledger
    words = ["user", "add", "bob", "--role", "viewer"]
    pid, terminal = pty.fork()
    if pid == 0:  # the child has the terminal
        os.chdir(tmp_path)
        path = str(Path(__file__).parents[3])
        os.execve(  # noqa: S606 -- no shell is wanted
            sys.executable,
            [sys.executable, "-m", "service.cli", *words],
            {**environment, "PYTHONPATH": path},
        )
    shown = b""
    prompts = [b"Password (at least 12 characters): ", b"Again: "]
    for prompt, answer in zip(prompts, typed, strict=False):
        while prompt not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, f"{answer}\n".encode())
    try:
        while piece := os.read(terminal, 1024):
            shown += piece
    except OSError:  # the child has closed it
        pass
    _, ended = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(ended) == status
    assert said in shown.decode()
    assert PASSWORD.encode() not in shown
