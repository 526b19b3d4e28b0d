"""Record in the audit trail what comes of an upload, whichever interface received it."""

from collections.abc import Sequence

from anyio import to_thread
from fastapi import Request

from service.domain.audit import Action, AuditOutcome
from service.domain.job import Receipt
from service.storage.ledger import Ledger
from service.web.problem import Problem
from service.web.trail import Trail
from service.web.uploading.uploads import Uploaded, Uploads


class RecordedUploads:
    """Receives uploads, and records each received job, and the refused files together."""

    def __init__(self, uploads: Uploads, ledger: Ledger, trail: Trail) -> None:
        self._uploads = uploads
        self._ledger = ledger
        self._trail = trail

    async def receive(self, request: Request) -> list[Uploaded]:
        """Receive an upload as `Uploads.receive` does, and record what comes of it.

        Raises:
            Problem: the body as a whole is refused, which is recorded too.
            LedgerError: it could not be recorded.
        """
        try:
            outcomes = await self._uploads.receive(request)
        except Problem as problem:
            await to_thread.run_sync(self._record, request, [Uploaded(name="", result=problem)])
            raise
        await to_thread.run_sync(self._record, request, outcomes)
        return outcomes

    def _record(self, request: Request, outcomes: Sequence[Uploaded]) -> None:
        refused = [each.result for each in outcomes if isinstance(each.result, Problem)]
        for each in outcomes:
            if isinstance(each.result, Receipt):
                job = self._ledger.queries.job(each.result.job_id)
                repeated = each.result.repeated
                self._trail.record(request, Action.UPLOAD, job=job, repeated=repeated)
        if refused:
            reasons = sorted({str(each.reason or int(each.status)) for each in refused})
            self._trail.record(
                request,
                Action.UPLOAD,
                outcome=AuditOutcome.FAILURE,
                files=len(refused),
                reasons=" ".join(reasons),
            )
