"""Print drift and what a shadow model would have said; set what drift is measured against."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from service.audit.recording import record_command
from service.domain.audit import Action
from service.domain.monitoring.drift import FEWEST_BEFORE
from service.domain.monitoring.shadow import Comparison, Reading
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.ledger.reading.statistics import DAY_SECONDS
from service.telemetry.drift import DriftMonitor, InputDrift, Measurement
from service.web.quality.figures import in_words
from service.web.quality.proportion import Proportion
from service.web.quality.shadow import OUTCOMES, Summary, summarise

_DAYS: Final = 28  # of a report that names no beginning
_MOST_LINES: Final = 20  # of the changes that are printed for a person


def print_drift(
    settings: Settings, ledger: Ledger, *, as_json: bool, clock: Callable[[], float] = time.time
) -> None:
    """Print the drift of every input: as a table, or as one JSON object."""
    measured = DriftMonitor(settings, ledger, clock).measure(clock())
    if as_json:
        print(json.dumps(_drift_object(measured), indent=2))  # noqa: T201 -- for programs
        return
    table = Table("input", "index", "in words", "reference", "films in it")
    for each in measured.inputs:
        index = "" if each.drift.index is None else f"{each.drift.index:.3f}"
        words = "Too few films to say." if each.drift.index is None else each.drift.words
        table.add_row(each.input, index, words, each.reference.kind, f"{each.drift.before:,}")
    console = Console(markup=False)
    console.print(f"{measured.instances:,} films since {_day(measured.since)}")
    console.print(table)


def _drift_object(measured: Measurement) -> dict[str, Any]:
    return {
        "since": measured.since,
        "until": measured.until,
        "instances": measured.instances,
        "inputs": {str(each.input): _input_object(each) for each in measured.inputs},
    }


def _input_object(measured: InputDrift) -> dict[str, Any]:
    return {
        "index": measured.drift.index,
        "limit": measured.drift.limit,
        "reference": str(measured.reference.kind),
        "films": measured.drift.recent,
        "films_of_reference": measured.drift.before,
        "groups": [asdict(each) for each in measured.groups],
    }


def accept_drift(
    settings: Settings, ledger: Ledger, days: float, clock: Callable[[], float] = time.time
) -> list[str]:
    """Let the films of the last days be the reference of this site; return a line for each input.

    Inputs with too few films keep the reference that they have.
    """
    until = clock()
    since, counts = DriftMonitor(settings, ledger, clock).counts(until, days)
    enough = {each: films for each, films in counts.items() if films.total() >= FEWEST_BEFORE}
    if enough:
        ledger.drift.accept(enough, since, until)
        record_command(ledger, Action.DRIFT, change="accept", days=days, inputs=len(enough))
    return [
        f"{each}: {films.total():,} films since {_day(since)}" for each, films in enough.items()
    ]


def forget_drift(ledger: Ledger) -> int:
    """Remove the references of this site; return how many there were."""
    count = ledger.drift.forget()
    if count:
        record_command(ledger, Action.DRIFT, change="forget", inputs=count)
    return count


def print_shadow(
    ledger: Ledger,
    since: float | None,
    until: float | None,
    number: int,
    *,
    as_json: bool,
    clock: Callable[[], float] = time.time,
) -> bool:
    """Print the comparison of two models; return whether there was one.

    Args:
        ledger: where it is.
        since: seconds since the epoch; the last four weeks if it is None.
        until: likewise; until now if it is None.
        number: which pair of models, the latest first.
        as_json: as one JSON object.
        clock: the present time.
    """
    end = clock() if until is None else until
    summary = summarise(ledger, end - _DAYS * DAY_SECONDS if since is None else since, end, number)
    if as_json:
        print(json.dumps(_shadow_object(summary), indent=2))  # noqa: T201 -- for programs
    elif summary.pair is not None:
        console = Console(markup=False)
        for line in _shadow_lines(summary):
            console.print(line)
    return summary.pair is not None


def _shadow_lines(summary: Summary) -> Iterator[str | Table]:
    pair = summary.pair
    if pair is None:
        return
    yield f"{pair.shadow} (shadow) beside {pair.reported} (reported), since {_day(summary.since)}"
    table = Table("reported", *(f"shadow: {each}" for each in OUTCOMES))
    for reported, row in summary.table.items():
        table.add_row(reported, *(f"{row[each]:,}" for each in OUTCOMES))
    yield table
    kappa = "" if summary.kappa is None else f"; Cohen's kappa {summary.kappa:.3f}"
    yield f"same outcome: {in_words(summary.agreement)}{kappa}"
    if summary.differences is not None:
        found = summary.differences
        yield (
            f"probabilities: mean difference {found.mean:+.3f}, size: mean "
            f"{found.mean_absolute:.3f}, median {found.median_absolute:.3f}, 95th percentile "
            f"{found.percentile_95_absolute:.3f}, largest {found.largest_absolute:.3f}"
        )
    if summary.judged.reported.of:
        yield (
            f"right by radiologists, who saw the reported finding: reported "
            f"{in_words(summary.judged.reported)}; shadow {in_words(summary.judged.shadow)}"
        )
    yield f"reports that would change: {in_words(summary.changed)}"
    for each in summary.changes[:_MOST_LINES]:
        yield f"  {each.job_id[:8]}  {_said(each.reported)} -> {_said(each.shadow)}"
    yield f"waiting to be read: {summary.pending:,}"
    for why, count in summary.failures.items():
        yield f"not read, {why}: {count:,}"
    for number, other in enumerate(summary.pairs):
        if other is not pair:
            yield f"--pair {number}: {other.shadow} beside {other.reported}, {other.count:,}"


def _said(reading: Reading) -> str:
    if reading.probability is None:
        return f"{reading.outcome} ({reading.reason})"
    return f"{reading.outcome} {reading.probability:.3f}"


def _shadow_object(summary: Summary) -> dict[str, Any]:
    return {
        "since": summary.since,
        "until": summary.until,
        "reported_model": summary.pair.reported if summary.pair else None,
        "shadow_model": summary.pair.shadow if summary.pair else None,
        "compared": summary.agreement.of,
        "agreement": _share(summary.agreement),
        "kappa": summary.kappa,
        "table": {
            str(reported): {str(each): number for each, number in row.items()}
            for reported, row in summary.table.items()
        },
        "differences": asdict(summary.differences) if summary.differences else None,
        "right_by_radiologists": {
            "reported": _share(summary.judged.reported),
            "shadow": _share(summary.judged.shadow),
        },
        "changes": [_change(each) for each in summary.changes],
        "pending": summary.pending,
        "failures": summary.failures,
        "pairs": [asdict(each) for each in summary.pairs],
    }


def _share(proportion: Proportion) -> dict[str, Any]:
    return {"count": proportion.count, "of": proportion.of, "interval": proportion.interval}


def _change(comparison: Comparison) -> dict[str, Any]:
    return {
        "job_id": comparison.job_id,
        "reported": _reading(comparison.reported),
        "shadow": _reading(comparison.shadow),
    }


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "outcome": str(reading.outcome),
        "probability": reading.probability,
        "reason": reading.reason and str(reading.reason),
    }


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
