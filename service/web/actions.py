"""What a person or program may do with a job: the same rules for the pages and the API."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from fastapi import Request

from service.domain.audit import Action
from service.domain.job import BytesGoneError, Job, TransitionError, require_sentence
from service.domain.reasons import Reason
from service.domain.routing import Routes
from service.storage.ledger import Ledger
from service.web.problem import Problem, not_found
from service.web.trail import Trail

NEED_DESTINATION: Final = frozenset({Reason.NO_DESTINATION, Reason.DESTINATION_REMOVED})
"""Reasons for parking that a requeue ends only if there is a destination."""


class JobActions:
    """Requeues, reanalyses and dismisses jobs, and records who did it in the audit trail."""

    def __init__(self, ledger: Ledger, destinations: Routes, trail: Trail) -> None:
        self._ledger = ledger
        self._destinations = destinations
        self._trail = trail

    def requeue(self, request: Request, job: Job) -> Job:
        """Continue a parked job.

        Raises:
            Problem: its state does not allow that, or there is still no destination.
        """
        self.require_destination(job.reason)
        moved = _moved(
            lambda: self._ledger.jobs.requeue(job.id, self._destinations),
            "Only a parked job can be requeued.",
        )
        self._trail.record(request, Action.REQUEUE, job=job)
        return moved

    def require_destination(self, reason: Reason | None) -> None:
        """Require a destination for jobs that were parked because there was none any more.

        Raises:
            Problem: there is still none.
        """
        if reason in NEED_DESTINATION and not self._destinations.has_destinations:
            raise Problem(HTTPStatus.CONFLICT, "No destination is configured yet.")

    def reanalyse(self, request: Request, job: Job) -> Job:
        """Have a finished or parked job analysed again with the configured model.

        Raises:
            Problem: it is in flight, or its bytes are gone.
        """
        moved = _moved(
            lambda: self._ledger.jobs.reanalyse(job.id),
            "This job is not finished: it is being analysed or delivered. Wait for its end.",
        )
        self._trail.record(request, Action.REANALYSE, job=job)
        return moved

    def dismiss(self, request: Request, job: Job, why: str) -> Job:
        """Close a parked job; `why` is one sentence, which its trace keeps.

        Raises:
            Problem: it is not parked, or the sentence is not one.
        """
        sentence = required_sentence(why)
        moved = _moved(
            lambda: self._ledger.jobs.dismiss(job.id, sentence),
            "Only a parked job can be dismissed.",
        )
        self._trail.record(request, Action.DISMISS, job=job)
        return moved


def required_sentence(text: str) -> str:
    """Return why a person dismisses a job.

    Raises:
        Problem: it is no sentence: blank, too long, or in several lines.
    """
    try:
        return require_sentence(text)
    except ValueError as exc:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc)) from exc


def _moved(move: Callable[[], Job], why_not: str) -> Job:
    """Move a job to another state and return it.

    Raises:
        Problem: there is no such job any more, or its state does not allow it.
    """
    try:
        return move()
    except LookupError:
        raise not_found("job") from None
    except BytesGoneError as exc:
        sentence = "Retention removed the bytes of this instance: have it sent again."
        raise Problem(HTTPStatus.CONFLICT, sentence) from exc
    except TransitionError as exc:
        raise Problem(HTTPStatus.CONFLICT, why_not) from exc
