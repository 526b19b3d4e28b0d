"""How people sign in, as the settings and the ledger say."""

from typing import Final

from service.settings import Settings
from service.storage.ledger import Ledger

HOW_TO_ADD: Final = "lobar user add NAME --role admin"


def nobody_can_sign_in(settings: Settings, ledger: Ledger) -> bool:
    """Return whether the pages are open, without anything about a patient.

    Raises:
        LedgerError: The ledger does not answer.
    """
    return not settings.sign_in.is_elsewhere and not ledger.users.are_there()


def first_user_notice(settings: Settings, ledger: Ledger) -> str | None:
    """Return one line on how to make the first user; None if people can sign in.

    Raises:
        LedgerError: The ledger does not answer.
    """
    if not nobody_can_sign_in(settings, ledger):
        return None
    return (
        "There is no user yet: the pages are open to everybody who can reach them, and show "
        f"nothing about a patient. `{HOW_TO_ADD}` makes the first user."
    )


def ways(settings: Settings, ledger: Ledger) -> str:
    """Describe how people sign in, in one line.

    Raises:
        LedgerError: The ledger does not answer.
    """
    enabled = [each for each in ledger.users.all() if each.disabled_at is None]
    with_password = sum(each.password_hash is not None for each in enabled)
    found = []
    if with_password:
        found.append(f"{with_password} with a password")
    if settings.sign_in.openid_issuer is not None:
        found.append(f"at {settings.sign_in.openid_issuer}")
    if settings.sign_in.proxy_header is not None:
        addresses = ", ".join(settings.sign_in.proxy_addresses)
        found.append(f"at the proxy at {addresses}, which sends {settings.sign_in.proxy_header}")
    return "; ".join(found) or "no enabled user has a password, and there is no other way"
