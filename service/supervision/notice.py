"""What a person who starts the service for the first time must know."""

from service.access.ways import first_user_notice
from service.settings import Settings
from service.storage.ledger import Ledger


def print_first_user_notice(settings: Settings, ledger: Ledger) -> None:
    """Print one line on how to make the first user, as long as nobody can sign in."""
    notice = first_user_notice(settings, ledger)
    if notice is not None:
        print(notice, flush=True)  # noqa: T201 -- for the person who starts it; the log is for later
