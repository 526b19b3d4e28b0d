"""Put everything that happened to a job into one order: its trace, what people did, verdicts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from service.domain.audit import Action, AuditRecord
from service.domain.job import Event
from service.domain.reasons import EXPLANATIONS, Reason
from service.domain.verdict import Opinion, Verdict
from service.web.render import details, dimse_status, duration

ACTIONS: Final = (Action.REQUEUE, Action.REANALYSE, Action.DISMISS)
"""What people do with a job that changes it."""

WORDS: Final = {
    "received": "Received: the bytes are on disk and the sender was answered Success",
    "received-again": "Received again with the same bytes: nothing to do",
    "leased": "A worker took it for analysis",
    "lease-released": "The worker ended before it was done",
    "postponed": "The analysis was postponed",
    "reported": "Analysed: the outputs are built and planned for every destination",
    "delivered": "Delivered: every destination has every output that it wants",
    "not_analysed": "Ended without an analysis",
    "parked": "Parked: it waits for a person",
    "dismissed": "Dismissed by a person",
    "requeued": "Requeued",
    "reanalysis-asked": "Another analysis was asked for",
    "purged": "Retention removed the bytes of the instance and of its outputs",
    "stored-again": "Its sender stored it again: the bytes are back on disk",
    "output-stored": "The destination stored it; its commitment is awaited",
    "output-delivered": "The destination stored it",
    "output-refused": "The destination refused it",
    "output-postponed": "The destination was not reached",
    "output-dismissed": "It is not delivered any more",
    "output-parked": "The delivery is parked",
    "output-lease-released": "The worker ended before the delivery was done",
    "output-committed": "The destination committed itself to keep it",
    "output-not-committed": "The destination did not commit itself to keep it",
    "commitment-asked": "Commitment was requested",
    "commitment-postponed": "The commitment request failed and is repeated",
    "instance-committed": "Lobar promised a sender to keep the instance",
}
"""What each event of a trace means."""

_ACTED: Final = {
    Action.REQUEUE: "Requeue",
    Action.REANALYSE: "Reanalysis",
    Action.DISMISS: "Dismissal",
}
_OPINIONS: Final = {
    Opinion.AGREE: "Verdict: agrees with the report",
    Opinion.DISAGREE: "Verdict: disagrees with the report",
    Opinion.UNSURE: "Verdict: unsure",
}
_ELSEWHERE: Final = frozenset(
    {"status", "why", "reason", "destination", "kind", "times"}
)  # of a step
_CODES: Final = frozenset(Reason)
_HEXADECIMAL: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the timeline; a field is blank where there is nothing to say."""

    at: float  # seconds since the epoch
    after: float  # seconds since the step before
    code: str  # of the event
    words: str
    destination: str = ""
    outputs: tuple[str, ...] = ()  # which are for that destination
    status: str = ""  # the DIMSE status in words
    why: str = ""  # in words
    reason_code: str = ""  # the code that these words explain
    detail: str = ""  # technical: counts, sizes, the worker
    reason: str = ""  # a person's sentence
    who: str = ""
    times: int = 1  # it happened so often, one after the other
    last_at: float | None = None  # the last time, where it happened more than once

    @property
    def output(self) -> str:
        """Which outputs, and to which destination."""
        return f"{', '.join(self.outputs)} to {self.destination}" if self.destination else ""

    @property
    def later(self) -> str:
        """How long after the step before, below a second in milliseconds."""
        return duration(self.after) if self.after >= 1 else f"{1000 * self.after:.0f} ms"


def timeline(
    trace: Sequence[Event], acts: Iterable[AuditRecord] = (), verdicts: Iterable[Verdict] = ()
) -> list[Step]:
    """Return the steps in order of time, those of the trace in their own order.

    What happened to the deliveries of one destination several times without a break is one step.

    Args:
        trace: a job's events.
        acts: what people did that changed the job, of `ACTIONS`.
        verdicts: on its reports.
    """
    steps = [*_of_trace(trace), *map(_of_act, acts), *map(_of_verdict, verdicts)]
    return list(_with_durations(_folded(sorted(steps, key=lambda step: step.at))))


def _folded(steps: Iterable[Step]) -> Iterator[Step]:
    latest: Step | None = None
    for step in steps:
        if latest is not None and _same(latest) == _same(step) and step.destination:
            outputs = tuple(dict.fromkeys(latest.outputs + step.outputs))
            latest = replace(latest, outputs=outputs, times=latest.times + 1, last_at=step.at)
            continue
        if latest is not None:
            yield latest
        latest = step
    if latest is not None:
        yield latest


def _same(step: Step) -> tuple[str, ...]:
    """Return what equal steps have in common."""
    return step.code, step.destination, step.status, step.why, step.reason, step.who


def _with_durations(steps: Iterable[Step]) -> Iterator[Step]:
    before: Step | None = None
    for step in steps:
        after = step.at - (before.last_at or before.at) if before else 0.0
        yield replace(step, after=after)
        before = step


def _of_trace(trace: Iterable[Event]) -> Iterator[Step]:
    for event in trace:
        kept = {name: value for name, value in event.detail.items() if name not in _ELSEWHERE}
        why = str(event.detail.get("why") or "")
        is_sentence = event.name == "dismissed"  # elsewhere `why` is a fixed word
        code = str(event.detail.get("reason") or "")
        explained = EXPLANATIONS[Reason(code)] if code in _CODES else code
        times = int(event.detail.get("times") or 1)  # repeats are counted in the job's row
        kind, destination = (str(event.detail.get(name) or "") for name in ("kind", "destination"))
        yield Step(
            at=event.at,
            after=0.0,
            code=event.name,
            words=WORDS.get(event.name, event.name),
            destination=destination,
            outputs=(kind,) if kind else (),
            status=_status(event.detail.get("status")),
            why=" ".join(filter(None, (explained, "" if is_sentence else why.replace("-", " ")))),
            reason_code=code,
            detail=details(Event(at=event.at, name=event.name, detail=kept)),
            reason=why if is_sentence else "",
            times=times,
        )


def _status(status: object) -> str:
    """Format the status of an event, which the ledger has as `0xA700`."""
    return dimse_status(int(status, _HEXADECIMAL)) if isinstance(status, str) else ""


def _of_act(act: AuditRecord) -> Step:
    return Step(
        at=act.at,
        after=0.0,
        code=str(act.action),
        words=f"{_ACTED.get(act.action, act.action)} asked for",
        who=f"{act.user} ({act.role})" if act.user else "somebody who was not signed in",
    )


def _of_verdict(verdict: Verdict) -> Step:
    right = f": {verdict.right_finding}, not {verdict.finding}" if verdict.right_finding else ""
    return Step(
        at=verdict.at,
        after=0.0,
        code="verdict",
        words=f"{_OPINIONS[verdict.opinion]}{right}",
        detail=f"report {verdict.report_uid}",
        who=verdict.user,
    )
