"""Record in the audit trail what a request did."""

import time
from collections.abc import Callable

from fastapi import Request

from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.domain.job import Job
from service.domain.user import OPEN_IDENTITY, Identity
from service.storage.ledger import Ledger


class Trail:
    """Records what requests do; a route that cannot record it fails."""

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
            detail: fixed words, codes and numbers; never a password or a token.

        Raises:
            LedgerError: it could not be recorded.
        """
        identity: Identity = getattr(request.state, "identity", OPEN_IDENTITY)
        self._ledger.audit.append(
            AuditRecord(
                at=self._clock(),
                action=action,
                outcome=outcome,
                user=identity.name,
                role=str(identity.role or ""),
                address=request.client.host if request.client else "",
                job_id=job.id if job else None,
                study_instance_uid=job.study_instance_uid if job else None,
                sop_instance_uid=job.sop_instance_uid if job else None,
                detail=dict(detail),
            )
        )
