"""The id of a spool, by which a ledger knows the one that holds its bytes.

Where a file system is not mounted, its mount point is an empty folder in which a spool can be made
as well as in any. The jobs would then seem to have lost their bytes, and what is received would be
where no other node finds it. So the ledger keeps the id of its spool, and another one is refused.
"""

import os
import re
import uuid
from typing import Final

from service.errors import EX_TEMPFAIL, ExplainedError
from service.storage.directories import fsync_directory
from service.storage.ledger import Ledger
from service.storage.spool import Spool

NAME: Final = "spool-id"
_LONGEST: Final = 64
_EMPTY: Final = ""  # the file while an id is being given to the spool
_ID: Final = re.compile(r"[0-9a-f]{32}")


class WrongSpoolError(ExplainedError):
    """The spool is not the one that holds the bytes of the ledger's jobs."""

    exit_status = EX_TEMPFAIL  # at a boot the file system may only come later


def require_own_spool(ledger: Ledger, spool: Spool) -> None:
    """Require that a spool is the ledger's; a ledger without one takes it.

    The file is made empty before the ledger records an id, and holds the ledger's then. So a file
    that is missing is that of another folder, whenever a first start was interrupted, and of
    processes that start at once each writes the same id.

    Raises:
        WrongSpoolError: The ledger has another.
        LedgerError: The ledger does not answer.
        OSError: The spool cannot be read or written.
    """
    known, here = ledger.properties.spool(), _read(spool)
    if known is None:
        if here is None:
            _begin(spool)
            here = _EMPTY
        known = ledger.properties.claim_spool(here or uuid.uuid4().hex)
    if here == _EMPTY:
        _write(spool, known)
        here = known
    if here != known:
        raise WrongSpoolError(
            f"{spool.root} is not the spool of this ledger, whose {NAME} is {known}: is its file "
            "system mounted there, the same on every machine? Where its files are lost for good, "
            f"write that id into {NAME} there."
        )


def _read(spool: Spool) -> str | None:
    """Return the id of a spool: empty while it is being given, None if nobody began to."""
    try:
        with (spool.root / NAME).open(encoding="ascii", errors="replace") as file:
            said = file.read(_LONGEST).strip()
    except FileNotFoundError:
        return None
    if said != _EMPTY and not _ID.fullmatch(said):
        raise WrongSpoolError(f"{spool.root / NAME} does not hold an id, 32 hexadecimal digits.")
    return said


def _begin(spool: Spool) -> None:
    """Make the file, durably; one that is there stays as it is."""
    (spool.root / NAME).open("a").close()
    fsync_directory(spool.root)


def _write(spool: Spool, spool_id: str) -> None:
    """Write the id, durably and at once: not every shared file system has hard links."""
    aside = spool.root / f"{NAME}.{uuid.uuid4().hex}"
    try:
        with aside.open("x", encoding="ascii") as file:
            file.write(f"{spool_id}\n")
            file.flush()
            os.fsync(file.fileno())
        aside.rename(spool.root / NAME)
    finally:
        aside.unlink(missing_ok=True)
    fsync_directory(spool.root)
