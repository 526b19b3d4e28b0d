"""How well the model does here, as far as the ledger can say: nothing about a patient."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.domain.user import Permission
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.ledger.reading.statistics import DAY_SECONDS, Period, Selection
from service.telemetry.drift import DriftMonitor
from service.web.access import require
from service.web.quality import figures
from service.web.quality.proportion import Proportion
from service.web.render import render

WEEKS: Final = (4, 12, 26, 52)
_PRINTABLE: Final = r"^[^\x00-\x1f]*$"  # PostgreSQL takes no NUL
_RECENT_SECONDS: Final = 7 * DAY_SECONDS
_BEFORE_SECONDS: Final = 56 * DAY_SECONDS


def router(settings: Settings, ledger: Ledger, clock: Callable[[], float] = time.time) -> APIRouter:
    """Build the route of the quality page."""
    routes = APIRouter(include_in_schema=False, dependencies=[require(Permission.VIEW)])
    monitor = DriftMonitor(settings, ledger, clock)

    @routes.get("/quality")
    def _quality(
        request: Request,
        weeks: Annotated[int, Query(ge=1, le=104)] = 12,
        by: Period = Period.WEEK,
        model: Annotated[str, Query(max_length=128, pattern=_PRINTABLE)] = "",
        ae: Annotated[str, Query(max_length=16, pattern=_PRINTABLE)] = "",
    ) -> Response:
        now = clock()
        starts = _starts(now, weeks, by)
        selection = Selection(since=starts[0], until=now, model=model or None, ae_title=ae or None)
        values = {
            "weeks": weeks,
            "by": by,
            "model": model,
            "ae": ae,
            "choices": WEEKS,
            "in_words": figures.in_words,
            "proportion": Proportion,
            "measured": monitor.latest(),
            "window_days": settings.drift.window_days,
            "fewest": settings.drift.fewest_instances,
            "reference_words": figures.REFERENCE_WORDS,
            "sources": ledger.statistics.sources(selection.since, now),
            **_agreement(ledger, replace(selection, since=_starts(now, weeks, Period.WEEK)[0])),
            **_rates(ledger, selection, by, starts),
            **_drift(ledger, selection, now),
        }
        return render(request, "quality.html", values)

    return routes


def _starts(now: float, weeks: int, period: Period) -> list[int]:
    """Return the beginnings of the periods of so many weeks; the last one is in progress."""
    last = period.start(now)
    number = weeks * Period.WEEK.seconds // period.seconds
    return [last - back * period.seconds for back in reversed(range(number))]


def _agreement(ledger: Ledger, selection: Selection) -> dict[str, Any]:
    counts = ledger.statistics.verdicts(selection)
    first = int(selection.since)
    starts = range(first, int(selection.until) + 1, Period.WEEK.seconds)
    return {
        "agreements": figures.agreements(counts),
        "answers": figures.ANSWERS,
        "confusion": figures.confusion(counts),
        "agreement_plot": figures.agreement_plot(counts, starts),
    }


def _rates(
    ledger: Ledger, selection: Selection, period: Period, starts: list[int]
) -> dict[str, Any]:
    periods = figures.rates(ledger.statistics.outcomes(selection, period), starts)
    return {
        "periods": periods,
        "day": figures.day,
        "finding_plot": figures.finding_plot(periods, period),
        "refusal_plot": figures.refusal_plot(periods, period),
    }


def _drift(ledger: Ledger, selection: Selection, now: float) -> dict[str, Any]:
    boundary = now - _RECENT_SECONDS
    recent = replace(selection, since=boundary, until=now)
    before = replace(selection, since=boundary - _BEFORE_SECONDS, until=boundary)
    statistics = ledger.statistics
    histograms = statistics.histogram(recent), statistics.histogram(before)
    outcomes = [statistics.outcomes(each, Period.WEEK) for each in (recent, before)]
    return {
        "probability_drift": figures.probability_drift(*histograms),
        "probability_plot": figures.probability_plot(*histograms),
        "reason_drift": figures.reason_drift(*outcomes),
        "reasons": figures.reasons(*outcomes),
    }
