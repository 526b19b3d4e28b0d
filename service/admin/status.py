"""Print the contents of the ledger: for a person as tables, for a program as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from service.domain.delivery import DeliveryState
from service.domain.job import Job, JobState
from service.settings import TracingSettings
from service.storage.ledger import EVERYTHING, Breaker, Heartbeat, Ledger
from service.telemetry.heartbeat import FRESH_SECONDS
from service.web.schemas import (
    DeliveryResponse,
    EventResponse,
    JobResponse,
    OutputResponse,
    RevisionResponse,
)


def print_status(ledger: Ledger, *, as_json: bool) -> None:
    """Print the number of jobs in each state, the work that is due, and the running parts."""
    job_counts, due = ledger.queries.job_counts(), ledger.queries.due()
    parts = ledger.heartbeats.alive(FRESH_SECONDS)
    deliveries = ledger.queries.delivery_counts()
    breakers = ledger.breakers.not_closed()
    if as_json:
        facts = {
            "received": job_counts.received,
            "forgotten": job_counts.forgotten,
            "jobs": job_counts.by_state,
            "in_flight": job_counts.in_flight,
            "balance": job_counts.balance,
            "parked": job_counts.parked_by_reason,
            "due": asdict(due),
            "deliveries": [
                {"destination": name, "state": state, "count": count}
                for (name, state), count in sorted(deliveries.items())
            ],
            "breakers": [asdict(breaker) for breaker in breakers],
            "parts": [asdict(part) for part in parts],
        }
        _print_json(facts)
        return
    console = Console()
    jobs = Table("state", "jobs", title="Jobs", title_justify="left")
    for state in JobState:
        jobs.add_row(state, str(job_counts.by_state[state]))
    for reason, count in sorted(job_counts.parked_by_reason.items()):
        jobs.add_row(f"  parked: {reason}", str(count))
    jobs.add_row("received in all", str(job_counts.received))
    jobs.add_row("balance (must be 0)", str(job_counts.balance))
    console.print(jobs)
    waiting = Table("for", "due now", title="Due", title_justify="left")
    waiting.add_row("prediction", str(due.infer))
    for name, count in sorted(due.deliver.items()):
        waiting.add_row(f"delivery to {name}", str(count))
    for name, count in sorted(due.commit.items()):
        waiting.add_row(f"commitment request to {name}", str(count))
    if due.answer:
        waiting.add_row("answer to a commitment request", str(due.answer))
    console.print(waiting)
    sent = Table("destination", *DeliveryState, title="Deliveries", title_justify="left")
    for name in sorted({name for name, _ in deliveries}):
        sent.add_row(name, *(str(deliveries.get((name, state), 0)) for state in DeliveryState))
    console.print(sent)
    if breakers:
        console.print(_breaker_table(breakers, ledger.wall_offset()))
    console.print(_part_table(parts, ledger.wall_offset()))


def print_verification(ledger: Ledger) -> bool:
    """Count every job and delivery, and correct the ledger's own numbers where they differ.

    Returns:
        Whether they were right.
    """
    wrong = ledger.tallies.correct()
    for each in wrong:
        print(  # noqa: T201 -- for a person
            f"{' '.join(filter(None, (each.subject, each.state, each.name)))}: the ledger said "
            f"{each.tally}, its rows are {each.rows}; corrected"
        )
    if not wrong:
        print("The ledger's numbers are those of its rows.")  # noqa: T201 -- as above
    return not wrong


def _breaker_table(breakers: Sequence[Breaker], offset: float) -> Table:
    columns = ("breaker of", "state", "fault", "failures", "open until")
    table = Table(*columns, title="Breakers", title_justify="left")
    for each in breakers:
        state = "open" if each.is_open else "half-open"
        row = (
            each.name,
            state,
            each.fault or "",
            str(each.failures),
            _time(each.open_until + offset),
        )
        table.add_row(*row)
    return table


def _part_table(parts: Sequence[Heartbeat], offset: float) -> Table:
    columns = ("machine", "part", "process", "ready", "last heartbeat")
    table = Table(*columns, title="Parts", title_justify="left")
    for each in sorted(parts, key=lambda part: (part.machine, part.role, part.holder)):
        ready = "yes" if each.ready else "no"
        ready = ready if each.progress else "no, stuck"
        table.add_row(each.machine, each.role, each.pid, ready, _time(each.at + offset))
    return table


def print_trace(
    ledger: Ledger, text: str, tracing: TracingSettings | None = None, *, as_json: bool
) -> bool:
    """Print the trace of each job that an id or UID names; return False when there is none.

    Args:
        ledger: The ledger.
        text: The id or UID.
        tracing: Whether spans of jobs are exported, and where they are shown.
        as_json: Whether for a program.
    """
    jobs = ledger.queries.find(text, EVERYTHING)
    for job in jobs:
        exported = _exported(tracing, job)
        if as_json:
            _print_json({**_whole(ledger, job), **exported})
        else:
            _print_events(ledger, job, exported)
    return bool(jobs)


def _exported(tracing: TracingSettings | None, job: Job) -> dict[str, str | None]:
    """Return the id of the OpenTelemetry trace of a job, and the page that shows it."""
    if tracing is None:
        return {"trace_id": None, "trace_page": None}
    return {"trace_id": tracing.trace_id(job.id), "trace_page": tracing.page_of(job.id)}


def _whole(ledger: Ledger, job: Job) -> dict[str, Any]:
    queries = ledger.queries
    return {
        **asdict(JobResponse.of(job)),
        "revisions": [asdict(RevisionResponse.of(each)) for each in queries.revisions(job)],
        "outputs": [asdict(OutputResponse.of(each)) for each in queries.outputs(job.id)],
        "deliveries": [asdict(DeliveryResponse.of(each)) for each in queries.deliveries(job.id)],
        "events": [asdict(EventResponse.of(each)) for each in queries.trace(job.id)],
    }


def _print_events(ledger: Ledger, job: Job, exported: dict[str, str | None]) -> None:
    console = Console(highlight=False)
    reason = f": {job.reason}" if job.reason else ""
    urgent = "  urgent" if job.is_urgent else ""
    console.print(f"[bold]{job.id}[/bold]  {job.state}{reason}{urgent}")
    console.print(f"  instance {job.sop_instance_uid}\n  study    {job.study_instance_uid}")
    if job.probability is not None:
        console.print(
            f"  pneumonia {job.finding}, probability {job.probability:.3f} at "
            f"{job.operating_point}, by {job.model}"
        )
    if job.other is not None:
        console.print(
            f"  other abnormality {job.other.finding}, probability {job.other.probability:.3f} at "
            f"{job.other.operating_point}"
        )
    if job.population is not None:
        console.print(f"  population {job.population}")
    if exported["trace_id"] is not None:
        shown = f", {exported['trace_page']}" if exported["trace_page"] is not None else ""
        console.print(f"  spans in the trace {exported['trace_id']}{shown}", soft_wrap=True)
    events = Table("time", "event", "detail", box=None, pad_edge=True)
    for event in ledger.queries.trace(job.id):
        detail = ", ".join(f"{key} {value}" for key, value in event.detail.items())
        events.add_row(_time(event.at), event.name, detail)
    console.print(events)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, tz=UTC).isoformat(sep=" ", timespec="milliseconds")


def _print_json(facts: dict[str, Any]) -> None:
    print(json.dumps(facts))  # noqa: T201 -- one object per line, for programs
