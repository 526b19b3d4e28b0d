"""Record in the audit trail what a request did."""

import time
from collections.abc import Callable
from typing import Final

import structlog
from fastapi import Request

from service.audit.recording import record
from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.domain.job import Job
from service.domain.user import OPEN_IDENTITY, Identity
from service.storage.ledger import Ledger, LedgerError

_ADDRESS_CHARACTERS: Final = 64  # of the column

log = structlog.get_logger()


class Trail:
    """Records what requests do; a route that cannot record it fails.

    Args:
        ledger: Where it is recorded.
        clock: Seconds since the epoch.
        address: Returns the address of the client; behind a proxy that is trusted, what that
            states.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Callable[[], float] = time.time,
        address: Callable[[Request], str] | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._address = address or client_address

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
            address=self._address(request)[:_ADDRESS_CHARACTERS],
            detail={name: value for name, value in detail.items() if value is not None},
        )
        record(self._ledger, entry, job)

    def record_server(self, action: Action) -> None:
        """Record that the web server starts or stops; log if the ledger does not take it.

        The server starts and stops all the same: without a ledger nobody sees a patient.
        """
        try:
            record(self._ledger, AuditRecord(at=self._clock(), action=action, user=""))
        except LedgerError as exc:
            log.warning("audit_failed", action=action, exc_info=exc)


def client_address(request: Request) -> str:
    """Return the address of the connection."""
    return request.client.host if request.client else ""
