"""What flows now, and what waits for a person."""

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from service.domain.audit import Action
from service.domain.job import MAXIMUM_SENTENCE, Job, TransitionError
from service.domain.reasons import Reason
from service.domain.user import Permission
from service.settings import Settings
from service.storage.ledger import Breaker, Heartbeat, Ledger
from service.storage.ledger.reading.flow import DestinationFlow, Minute
from service.storage.spool import Spool
from service.telemetry.heartbeat import FRESH_SECONDS
from service.telemetry.ledger_collector import ROLES, queue_depths
from service.web.access import require
from service.web.actions import NEED_DESTINATION, JobActions, required_sentence
from service.web.form import Fields
from service.web.health import NOT_READY, missing_on_disk, missing_roles
from service.web.problem import Problem
from service.web.render import render, zone
from service.web.trail import Trail

MOST_AT_ONCE: Final = 200  # jobs of a group by one click
SHOWN_OF_GROUP: Final = 10
MINUTES: Final = 180  # of the plot
LATENCY_SECONDS: Final = 3600.0
SHOWN_OFFSET_SECONDS: Final = 60.0  # between the wall clock and scheduling time
OVERDUE_SECONDS: Final = 600.0  # a sender's commitment request without a result
PLOT_HEIGHT: Final = 60
_GAPS: Final = 6  # between the times along its axis
_STEP: Final = 2  # units of the plot's width for a minute

WHAT_TO_DO: Final[Mapping[Reason, str]] = {
    Reason.ATTEMPTS_EXHAUSTED: "Open a job: its trace says what failed each time. Correct that, "
    "then requeue. An instance that alone fails again and again can be dismissed.",
    Reason.BYTES_MISSING: "Have the sender store the instance again: the job takes its bytes and "
    "continues. Where only an output was lost, requeue: it is built again.",
    Reason.REPORT_FAILED: "Report it with the log's event report_failed. Requeue after an update.",
    Reason.NO_DESTINATION: "The findings are here. To have reports sent, configure a destination "
    "(destinations in lobar.toml), restart, requeue. If nobody needs them sent, dismiss.",
    Reason.DESTINATION_REFUSED: "Open a job: its deliveries show the status. 0x0122: have the "
    "destination take the SOP class. 0x0124: add Lobar's AE title there. Then requeue.",
    Reason.DESTINATION_UNREACHABLE: "Bring the destination or the network back (lobar check tries "
    "it), then requeue.",
    Reason.NOT_COMMITTED: "Ask the destination's operator why it does not commit itself to keep "
    "what it stored, then requeue: it is sent again.",
    Reason.DESTINATION_REMOVED: "Configure a destination of the same name again, or requeue: the "
    "outputs go to the destinations that are configured now.",
}
"""What an operator does about each reason for parking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A destination on the page."""

    flow: DestinationFlow
    breaker: Breaker | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The processes of one role."""

    role: str
    processes: int
    machines: int
    ready: int
    stuck: int
    seen_at: float | None

    @property
    def starting(self) -> bool:
        """Whether it runs and is not ready yet; after `start_seconds` it counts as stuck."""
        return self.processes > 0 and not self.ready and not self.stuck


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Two lines over the last hours, as points of an SVG."""

    received: str
    finished: str
    width: int
    most: int  # in a minute
    received_in_all: int
    finished_in_all: int
    from_at: float
    until_at: float
    marks: tuple[float, ...]  # times along the axis, evenly spaced


def router(settings: Settings, ledger: Ledger, spool: Spool, trail: Trail) -> APIRouter:
    """Build the routes of the status page."""
    routes = APIRouter(include_in_schema=False)
    actions = JobActions(ledger, settings.routes, trail)
    view, operate = require(Permission.VIEW), require(Permission.OPERATE)

    @routes.get("/status", dependencies=[view])
    def _status(
        request: Request,
        requeued: Annotated[int | None, Query(ge=0, le=MOST_AT_ONCE)] = None,
        dismissed: Annotated[int | None, Query(ge=0, le=MOST_AT_ONCE)] = None,
    ) -> Response:
        values = {
            **_flow(settings, ledger, spool),
            **_for_people(ledger),
            "requeued": requeued,
            "dismissed": dismissed,
        }
        return render(request, "status.html", values)

    @routes.get("/status/live", dependencies=[view])
    def _live(request: Request) -> Response:
        values = {**_flow(settings, ledger, spool), **_for_people(ledger)}
        return render(request, "status_live.html", values)

    @routes.post("/status/requeue", dependencies=[operate])
    def _requeue(request: Request, fields: Fields) -> Response:
        reason_code = _reason_of(fields)
        actions.require_destination(reason_code)
        count = _each(
            ledger.flow.parked_for(reason_code, MOST_AT_ONCE),
            lambda job: ledger.jobs.requeue(job.id, settings.routes),
            lambda job: trail.record(request, Action.REQUEUE, job=job, of_group=str(reason_code)),
        )
        return RedirectResponse(f"/status?requeued={count}", HTTPStatus.SEE_OTHER)

    @routes.post("/status/dismiss", dependencies=[operate])
    def _dismiss(request: Request, fields: Fields) -> Response:
        reason_code = _reason_of(fields)
        why = required_sentence(" ".join(fields.get("reason", "").split()))
        count = _each(
            ledger.flow.parked_for(reason_code, MOST_AT_ONCE),
            lambda job: ledger.jobs.dismiss(job.id, why),
            lambda job: trail.record(request, Action.DISMISS, job=job, of_group=str(reason_code)),
        )
        return RedirectResponse(f"/status?dismissed={count}", HTTPStatus.SEE_OTHER)

    return routes


def _reason_of(fields: Mapping[str, str]) -> Reason:
    """Return the reason whose group a form is about.

    Raises:
        Problem: it is none.
    """
    try:
        return Reason(fields.get("reason_code", ""))
    except ValueError as exc:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "There is no such reason.") from exc


def _each(
    jobs: Iterable[Job], change: Callable[[Job], object], record: Callable[[Job], None]
) -> int:
    """Change each job that is still parked, and record it; return how many."""
    count = 0
    for job in jobs:
        try:
            change(job)
        except (LookupError, TransitionError):  # somebody else did in the meantime
            continue
        record(job)
        count += 1
    return count


def _flow(settings: Settings, ledger: Ledger, spool: Spool) -> dict[str, Any]:
    now, offset = time.time(), ledger.wall_offset()
    breakers = [
        replace(each, open_until=each.open_until + offset)
        for each in ledger.breakers.not_closed(FRESH_SECONDS)
    ]
    names = [each.name for each in settings.destinations]
    beats = ledger.heartbeats.alive(FRESH_SECONDS)
    parts = _parts([replace(each, at=each.at + offset) for each in beats])
    missing = [*missing_on_disk(spool), *missing_roles(ledger)]
    starting = [
        each.role for each in parts if each.starting and NOT_READY.format(each.role) in missing
    ]
    return {
        "now": now,
        "offset": offset if abs(offset) >= SHOWN_OFFSET_SECONDS else None,
        "zone": zone(now),
        "settings": settings,
        "starting": starting,
        "missing": [each for each in missing if each not in map(NOT_READY.format, starting)],
        "job_counts": ledger.queries.job_counts(),
        "analysis": ledger.flow.analysis(),
        "destinations": _destinations(ledger.flow.destinations(names), breakers),
        "faults": [each for each in breakers if each.fault is not None],
        "latencies": ledger.flow.latencies(LATENCY_SECONDS),
        "plot": plot(ledger.flow.per_minute(MINUTES)),
        "parts": parts,
        "model": ledger.flow.latest_model(),
        "disk": _disk(spool),
        "queues": queue_depths(settings.redis_url),
    }


def _for_people(ledger: Ledger) -> dict[str, Any]:
    return {
        "parked": ledger.flow.parked(SHOWN_OF_GROUP),
        "overdue": ledger.flow.overdue_requests(OVERDUE_SECONDS),
        "what_to_do": WHAT_TO_DO,
        "need_destination": NEED_DESTINATION,
        "most_at_once": MOST_AT_ONCE,
        "longest_why": MAXIMUM_SENTENCE,
    }


def _destinations(
    flows: Sequence[DestinationFlow], breakers: Sequence[Breaker]
) -> list[Destination]:
    by_name = {each.name: each for each in breakers if each.fault is None}
    return [Destination(flow=each, breaker=by_name.get(each.name)) for each in flows]


def _parts(beats: Sequence[Heartbeat]) -> list[Part]:
    return [_part(role, [beat for beat in beats if beat.role == role]) for role in ROLES]


def _part(role: str, beats: Sequence[Heartbeat]) -> Part:
    return Part(
        role=role,
        processes=len(beats),
        machines=len({beat.machine for beat in beats}),
        ready=sum(beat.ready for beat in beats),
        stuck=sum(not beat.progress for beat in beats),
        seen_at=max((beat.at for beat in beats), default=None),
    )


def _disk(spool: Spool) -> dict[str, int] | None:
    try:
        usage = shutil.disk_usage(spool.root)
        return {
            "total": usage.total,
            "free": usage.free,
            "above_reserve": spool.free_bytes(),
            "has_room": spool.has_room(),
        }
    except OSError:
        return None


def plot(minutes: Sequence[Minute]) -> Plot:
    """Build the plot of what was received and finished in each minute."""
    received = [each.received for each in minutes]
    finished = [each.finished for each in minutes]
    most = max(*received, *finished, 1)
    return Plot(
        received=_points(received, most),
        finished=_points(finished, most),
        width=_STEP * (len(minutes) - 1),
        most=most,
        received_in_all=sum(received),
        finished_in_all=sum(finished),
        from_at=minutes[0].at,
        until_at=minutes[-1].at,
        marks=tuple(minutes[n * (len(minutes) - 1) // _GAPS].at for n in range(_GAPS + 1)),
    )


def _points(counts: Sequence[int], most: int) -> str:
    return " ".join(
        f"{_STEP * n},{PLOT_HEIGHT * (1 - count / most):.1f}" for n, count in enumerate(counts)
    )
