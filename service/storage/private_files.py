"""Keep what is on disk from other accounts of the machine: it is patient data."""

import os
import pwd
import shlex
import stat
from pathlib import Path
from typing import Final

from service.errors import EX_NOPERM, ExplainedError
from service.storage.directories import make_directory

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_WORLD: Final = stat.S_IRWXO


class NotPrivateError(ExplainedError):
    """Other accounts can read or own what holds patient data or secrets."""

    exit_status = EX_NOPERM


def make_private_directory(path: Path) -> None:
    """Create a directory that only this account can enter, durably, or check that one is so.

    Raises:
        NotPrivateError: it can be entered by other accounts, or belongs to one.
        OSError: it cannot be made.
    """
    make_directory(path.absolute(), mode=0o700)
    require_private(path, "state_dir")


def require_private(path: Path, name: str) -> None:
    """Require that a directory or file belongs to this account and that no other can read it.

    Args:
        path: the directory or file; it exists.
        name: what the message calls it.

    Raises:
        NotPrivateError: that is not so; the message says the command that corrects it.
    """
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise NotPrivateError(
            f"{name} {path} belongs to {_account(status.st_uid)}, and this command runs as "
            f"{_account(os.geteuid())}: run it as {_account(status.st_uid)}, or run "
            f"`chown -R {_account(os.geteuid())} {shlex.quote(str(path))}`."
        )
    if status.st_mode & _OTHERS:
        recursive = "-R " if stat.S_ISDIR(status.st_mode) else ""
        raise NotPrivateError(
            f"{name} {path} is open to other accounts of this machine (mode "
            f"{stat.S_IMODE(status.st_mode):04o}), and holds patient data: run "
            f"`chmod {recursive}go= {shlex.quote(str(path))}`."
        )


def is_readable_by_all(path: Path) -> bool:
    """Return whether every account of the machine can read a file."""
    return bool(path.stat().st_mode & _WORLD)


def _account(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
