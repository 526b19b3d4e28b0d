"""People and programs that use the pages and the API, and what each may do."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """The role of a user; each user has one."""

    VIEWER = "viewer"
    RADIOLOGIST = "radiologist"
    OPERATOR = "operator"
    ADMIN = "admin"


class Permission(StrEnum):
    """What a route requires. The names are also the scopes of API tokens."""

    VIEW = "view"  # jobs, findings, states and UIDs, without anything about the patient
    PATIENT = "patient"  # names, numbers and dates of patients, radiographs, outputs
    UPLOAD = "upload"  # send instances
    OPERATE = "operate"  # requeue, reanalyse, dismiss
    VERDICT = "verdict"  # agree or disagree with a finding
    EXPORT = "export"  # the verdicts as a table, without anything about the patient
    ADMINISTER = "administer"  # users, the tokens of others, the audit trail


_EVERYTHING: Final = frozenset(Permission)
PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.VIEWER: frozenset({Permission.VIEW, Permission.PATIENT}),
    Role.RADIOLOGIST: frozenset(
        {
            *(Permission.VIEW, Permission.PATIENT, Permission.UPLOAD),
            *(Permission.VERDICT, Permission.EXPORT),
        }
    ),
    Role.OPERATOR: frozenset(
        {Permission.VIEW, Permission.UPLOAD, Permission.OPERATE, Permission.EXPORT}
    ),
    # a verdict is a radiologist's
    Role.ADMIN: _EVERYTHING - {Permission.VERDICT},
}
"""What each role may do."""

OPEN_PERMISSIONS: Final = frozenset({Permission.VIEW, Permission.UPLOAD, Permission.OPERATE})
"""What anybody who can reach the pages may do while there is no user: nothing about a patient."""


class SignedInBy(StrEnum):
    """How the sender of a request was recognised."""

    OPEN = "open"  # not at all: there is no user yet
    SESSION = "session"
    TOKEN = "token"  # noqa: S105 -- a word
    PROXY = "proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who sent a request, and what that person or program may do."""

    name: str  # of the user; blank while there is none
    role: Role | None
    permissions: frozenset[Permission]
    signed_in_by: SignedInBy
    csrf_token: str = ""  # of the session: a form that changes something sends it back

    def may(self, permission: Permission) -> bool:
        """Return whether a permission is among those of this request."""
        return permission in self.permissions

    @property
    def may_read_sentences(self) -> bool:
        """Whether to show what a person wrote, which may name a patient."""
        is_operator = self.may(Permission.OPERATE) and self.signed_in_by is not SignedInBy.OPEN
        return is_operator or self.may(Permission.PATIENT)


OPEN_IDENTITY: Final = Identity(
    name="", role=None, permissions=OPEN_PERMISSIONS, signed_in_by=SignedInBy.OPEN
)


def permissions_of(
    role: Role, scopes: Collection[Permission] | None = None
) -> frozenset[Permission]:
    """Return what a role may do, within the scopes of a token if there are any."""
    return PERMISSIONS[role] if scopes is None else PERMISSIONS[role] & frozenset(scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who may sign in; times are seconds since the epoch."""

    name: str
    role: Role
    password_hash: str | None  # None for one whom only an identity provider or a proxy signs in
    created_at: float
    disabled_at: float | None = None
    failures: int = 0  # wrong passwords since the last right one
    locked_until: float | None = None
    subject_sha256: str | None = None  # whom the identity provider means, once it signed in
