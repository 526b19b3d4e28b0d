"""Users whom an identity provider or a proxy signs in: they are in the ledger like the others."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.access.names import AccessError, user_name
from service.domain.user import Role, User
from service.storage.ledger import Ledger
from service.storage.ledger.access.users import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvidedUser:
    """A user whom a provider or a proxy means.

    Attributes:
        user: As the ledger has the user now.
        changes: What this request changed of the user, in the words of the audit trail: `add`,
            `bind` to a person at the provider, `role`.
    """

    user: User
    changes: tuple[str, ...] = ()


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


def user_of_subject(ledger: Ledger, subject: str, claimed_name: object, role: Role) -> ProvidedUser:
    """Return the user whom the identity provider means, with the role it says.

    The first time the user is added, or bound to the one of this name if an administrator made it
    without a password. A name alone never takes over a user that signs in another way.

    Raises:
        AccessError: The name cannot be used.
        LedgerError: The ledger does not answer.
    """
    user = ledger.users.find_subject(subject)
    if user is None:
        return _with_role(ledger, _bound_or_added(ledger, subject, _name(claimed_name), role), role)
    return _with_role(ledger, ProvidedUser(user=user), role)


def user_of_proxy(ledger: Ledger, name: str, role: Role | None) -> ProvidedUser | None:
    """Return the user whom a proxy names, with the role it says, if it says one.

    Returns:
        None if the name is no user's and there is no role for it, or the user is disabled.

    Raises:
        LedgerError: The ledger does not answer.
    """
    user = ledger.users.find(name)
    found = None if user is None else ProvidedUser(user=user)
    if found is None and role is not None:
        found = _added(ledger, name, role)
    if found is None or found.user.disabled_at is not None:
        return None
    return found if role is None else _with_role(ledger, found, role)


def _with_role(ledger: Ledger, found: ProvidedUser, role: Role) -> ProvidedUser:
    """Return a user with the role that the provider says, and keep it where it is another."""
    user = found.user
    if user.role is role:
        return found
    changed = ledger.users.set_role(user.name, role, by_provider=True)
    changes = (*found.changes, "role") if changed else found.changes
    return ProvidedUser(user=ledger.users.find(user.name) or user, changes=changes)


def _bound_or_added(ledger: Ledger, subject: str, name: str, role: Role) -> ProvidedUser:
    if ledger.users.find(name) is None:
        try:
            user = ledger.users.add(name, role, None, subject)
        except UserError:  # by another request at the same time
            return _of_subject(ledger, subject, name)
        return ProvidedUser(user=user, changes=("add",))
    try:
        ledger.users.bind(name, subject)
    except UserError:  # of somebody else, or of the same person by another request
        return _of_subject(ledger, subject, name)
    return replace(_of_subject(ledger, subject, name), changes=("bind",))


def _of_subject(ledger: Ledger, subject: str, name: str) -> ProvidedUser:
    return ProvidedUser(user=ledger.users.find_subject(subject) or _taken(name))


def _added(ledger: Ledger, name: str, role: Role) -> ProvidedUser | None:
    try:
        return ProvidedUser(user=ledger.users.add(name, role, None), changes=("add",))
    except UserError:  # by another request at the same time
        user = ledger.users.find(name)
        return None if user is None else ProvidedUser(user=user)


def _taken(name: str) -> User:
    raise AccessError(
        f"There is another user {name} here, who signs in in another way. Ask an administrator."
    )


def _name(claimed: object) -> str:
    if not isinstance(claimed, str):
        raise AccessError("The identity provider did not say your name.")
    return user_name(claimed)
