"""Users whom an identity provider or a proxy signs in: they are in the ledger like the others."""

import hashlib
from collections.abc import Mapping

from service.access.names import AccessError, user_name
from service.domain.user import Role, User
from service.storage.ledger import Ledger
from service.storage.ledger.access.users import UserError


def role_of(claim: object, roles: Mapping[str, Role]) -> Role | None:
    """Return the role of the first entry of a mapping that a claim has; None if it has none.

    Args:
        claim: A word, or a list of words, as providers write groups.
        roles: The role for each word; the first that applies counts.
    """
    words = claim if isinstance(claim, list) else [claim]
    return next((role for word, role in roles.items() if word in words), None)


def subject_sha256(issuer: str, subject: str) -> str:
    """Return the key of a person: issuer and subject, which alone are unique (OIDC Core 5.7)."""
    return hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()


def user_of_subject(ledger: Ledger, subject: str, claimed_name: object, role: Role) -> User:
    """Return the user whom the identity provider means, with the role it says.

    The first time the user is added, or bound to the one of this name if an administrator made it
    without a password. A name alone never takes over a user that signs in another way.

    Raises:
        AccessError: The name cannot be used.
        LedgerError: The ledger does not answer.
    """
    user = ledger.users.find_subject(subject)
    if user is None:
        user = _bound_or_added(ledger, subject, _name(claimed_name), role)
    return with_role(ledger, user, role)


def user_of_proxy(ledger: Ledger, name: str, role: Role | None) -> User | None:
    """Return the user whom a proxy names, with the role it says, if it says one.

    Returns:
        None if the name is no user's and there is no role for it, or the user is disabled.

    Raises:
        LedgerError: The ledger does not answer.
    """
    user = ledger.users.find(name)
    if user is None and role is not None:
        user = _added(ledger, name, role)
    if user is None or user.disabled_at is not None:
        return None
    return user if role is None else with_role(ledger, user, role)


def with_role(ledger: Ledger, user: User, role: Role) -> User:
    """Return a user with the role that the provider says, and keep it where it is another."""
    if user.role is role:
        return user
    ledger.users.set_role(user.name, role, by_provider=True)
    return ledger.users.find(user.name) or user


def _bound_or_added(ledger: Ledger, subject: str, name: str, role: Role) -> User:
    if ledger.users.find(name) is None:
        try:
            return ledger.users.add(name, role, None, subject)
        except UserError:  # by another request at the same time
            return ledger.users.find_subject(subject) or _taken(name)
    try:
        ledger.users.bind(name, subject)
    except UserError:  # of somebody else, or of the same person by another request
        return ledger.users.find_subject(subject) or _taken(name)
    return ledger.users.find_subject(subject) or _taken(name)


def _added(ledger: Ledger, name: str, role: Role) -> User | None:
    try:
        return ledger.users.add(name, role, None)
    except UserError:  # by another request at the same time
        return ledger.users.find(name)


def _taken(name: str) -> User:
    raise AccessError(
        f"There is another user {name} here, who signs in in another way. Ask an administrator."
    )


def _name(claimed: object) -> str:
    if not isinstance(claimed, str):
        raise AccessError("The identity provider did not say your name.")
    return user_name(claimed)
