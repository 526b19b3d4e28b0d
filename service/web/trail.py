"""Record in the audit trail what a request did."""

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from fastapi import Request

from service.access.provided_users import ProvidedUser
from service.audit.recording import record
from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.domain.job import Job
from service.domain.user import OPEN_IDENTITY, Identity
from service.storage.ledger import Ledger, LedgerError
from service.web.sign_in.forwarded import client_address

_ADDRESS_CHARACTERS: Final = 64  # of the column

log = structlog.get_logger()


class Recent:
    """Remembers what was recorded a while ago, so that a page that repeats it is recorded once.

    Threads may use it at once: two that record the same at the same moment both do.

    Args:
        seconds: How long something is remembered.
        most: How much is remembered; the oldest is forgotten first.
        clock: Seconds, of a clock that never goes back.
    """

    def __init__(
        self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._recorded: dict[tuple[str, ...], float] = {}  # the oldest first

    def has(self, what: tuple[str, ...]) -> bool:
        """Return whether something was recorded a while ago."""
        with self._lock:
            return self._clock() - self._recorded.get(what, -self._seconds) < self._seconds

    def add(self, what: tuple[str, ...]) -> None:
        """Remember what the ledger has taken."""
        with self._lock:
            self._recorded.pop(what, None)
            self._recorded[what] = self._clock()
            while len(self._recorded) > self._most:
                del self._recorded[next(iter(self._recorded))]


class Trail:
    """Records what requests do; a route that cannot record it fails.

    Args:
        ledger: Where it is recorded.
        clock: Seconds since the epoch.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock

    def record(
        self,
        request: Request,
        action: Action,
        *,
        job: Job | None = None,
        outcome: AuditOutcome = AuditOutcome.SUCCESS,
        **detail: str | float | bool | None,
    ) -> None:
        """Record an action of the sender of a request.

        Args:
            request: its identity is the one that `require` found.
            action: what was done.
            job: to which job, if to one.
            outcome: whether it succeeded.
            detail: fixed words, codes and numbers, without those that are None; never a password
                or a token.

        Raises:
            LedgerError: it could not be recorded.
        """
        identity: Identity = getattr(request.state, "identity", OPEN_IDENTITY)
        entry = AuditRecord(
            at=self._clock(),
            action=action,
            outcome=outcome,
            user=identity.name,
            role=str(identity.role or ""),
            address=client_address(request)[:_ADDRESS_CHARACTERS],
            detail={name: value for name, value in detail.items() if value is not None},
        )
        record(self._ledger, entry, job)

    def record_provided(self, request: Request, provided: ProvidedUser, *, by: str) -> None:
        """Record what a provider or a proxy changed of a user.

        Raises:
            LedgerError: it could not be recorded.
        """
        user = provided.user
        for change in provided.changes:
            role = str(user.role) if change != "bind" else None
            self.record(request, Action.USER, by=by, user=user.name, change=change, new_role=role)

    def record_server(self, action: Action) -> None:
        """Record that the web server starts or stops; log if the ledger does not take it.

        The server starts and stops all the same: without a ledger nobody sees a patient.
        """
        try:
            record(self._ledger, AuditRecord(at=self._clock(), action=action, user=""))
        except LedgerError as exc:
            log.warning("audit_failed", action=action, exc_info=exc)
