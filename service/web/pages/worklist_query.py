"""What an address of the worklist asks for; everything that the page shows is in its address."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from service.domain.job import JobState
from service.domain.patient_search import LONGEST_SEARCH
from service.storage.ledger.reading.worklist import Order, WorklistFilter
from service.web.problem import Problem

LONGEST_AE_TITLE: Final = 16  # PS3.5 table 6.2-1
_DAY: Final = 86400

_Word = TypeVar("_Word", bound=StrEnum)


class Finding(StrEnum):
    """A finding to filter by."""

    PRESENT = "present"
    INDETERMINATE = "indeterminate"
    ABSENT = "absent"


class Period(StrEnum):
    """How long ago an instance was received at most."""

    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"
    ALL = "all"


class Judged(StrEnum):
    """Whether an instance has a verdict."""

    GIVEN = "given"
    MISSING = "missing"


PERIOD_WORDS: Final = {
    Period.DAY: "the last 24 hours",
    Period.WEEK: "the last 7 days",
    Period.MONTH: "the last 30 days",
    Period.ALL: "all time",
}
ORDER_WORDS: Final = {
    Order.PRIORITY: "positives first, then the oldest",
    Order.NEWEST: "the newest first",
}
JUDGED_WORDS: Final = {Judged.GIVEN: "with a verdict", Judged.MISSING: "without a verdict"}
_SECONDS: Final = {Period.DAY: _DAY, Period.WEEK: 7 * _DAY, Period.MONTH: 30 * _DAY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A condition in words, and the address of the same list without it."""

    words: str
    without: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistQuery:
    """What an address asks for."""

    q: str = ""
    state: tuple[JobState, ...] = ()
    finding: tuple[Finding, ...] = ()
    ae: str = ""
    period: Period | None = None  # None where the address has none
    first: date | None = None  # days of this machine's time zone, both included
    last: date | None = None
    verdict: Judged | None = None
    order: Order = Order.PRIORITY
    after: str = ""

    @classmethod
    def of(cls, params: QueryParams) -> Self:
        """Read the query of an address; what is blank asks for nothing.

        Raises:
            Problem: a value is not one of those that the form offers.
        """
        return cls(
            q=_text(params, "q", LONGEST_SEARCH),
            state=_words(params, "state", JobState),
            finding=_words(params, "finding", Finding),
            ae=_text(params, "ae", LONGEST_AE_TITLE),
            period=_last(_words(params, "period", Period)),
            first=_day(params, "first"),
            last=_day(params, "last"),
            verdict=_last(_words(params, "verdict", Judged)),
            order=_last(_words(params, "order", Order)) or Order.PRIORITY,
            after=_text(params, "after", 80),
        )

    @property
    def shown_period(self) -> Period | None:
        """The period that counts; None where days are given.

        Who searches, or asks for a state, looks for it whenever it was received.
        """
        if self.first or self.last:
            return None
        return self.period or self.usual_period

    @property
    def usual_period(self) -> Period:
        """The period of an address that has none."""
        return Period.ALL if self.q or self.state else Period.WEEK

    @property
    def days_are_reversed(self) -> bool:
        """Whether the first day is after the last, so that no day is meant."""
        return self.first is not None and self.last is not None and self.first > self.last

    def filter(self, *, with_patients: bool) -> WorklistFilter:
        """Build the ledger's filter."""
        since, until = self._bounds()
        return WorklistFilter(
            text=self.q,
            states=frozenset(self.state),
            findings=frozenset(self.finding),
            calling_ae_title=self.ae,
            since=since,
            until=until,
            has_verdict=None if self.verdict is None else self.verdict is Judged.GIVEN,
            order=self.order,
            cursor=self.after,
            with_patients=with_patients,
        )

    def _bounds(self) -> tuple[float | None, float | None]:
        if self.shown_period is not None:
            seconds = _SECONDS.get(self.shown_period)
            return (None if seconds is None else time.time() - seconds), None
        until = None if self.last is None else _midnight(self.last + timedelta(days=1))
        return (None if self.first is None else _midnight(self.first)), until

    def address(self, **changes: Any) -> str:  # noqa: ANN401 -- any of the fields
        """Return the address of this list, or of a changed one from its first page on."""
        other = replace(self, **{"after": "", **changes}) if changes else self
        pairs = [
            (field.name, str(value))
            for field in fields(other)
            for value in _several(getattr(other, field.name))
            if value and value != field.default
        ]
        return f"/?{urlencode(pairs)}" if pairs else "/"

    @property
    def is_narrowed(self) -> bool:
        """Whether there is a condition other than the period."""
        return any((self.q, self.state, self.finding, self.ae, self.verdict))

    @property
    def uses_filters(self) -> bool:
        """Whether anything is chosen in the part of the form that a phone folds away."""
        days = self.first, self.last
        chosen = self.finding, self.ae, self.verdict, self.period, *days
        return any(chosen) or self.order is not Order.PRIORITY

    def chips(self, state_words: Mapping[JobState, str]) -> Iterator[Chip]:
        """Yield the conditions in words."""
        if self.q:
            yield Chip(words=f"search “{self.q}”", without=self.address(q=""))
        for state in self.state:
            others = tuple(each for each in self.state if each is not state)
            yield Chip(words=state_words[state], without=self.address(state=others))
        for finding in self.finding:
            rest = tuple(each for each in self.finding if each is not finding)
            yield Chip(words=f"pneumonia {finding}", without=self.address(finding=rest))
        if self.ae:
            yield Chip(words=f"from {self.ae}", without=self.address(ae=""))
        if self.verdict:
            yield Chip(words=JUDGED_WORDS[self.verdict], without=self.address(verdict=None))
        if self.first:
            yield Chip(words=f"from {self.first} on", without=self.address(first=None))
        if self.last:
            yield Chip(words=f"until {self.last}", without=self.address(last=None))


def _text(params: QueryParams, name: str, longest: int) -> str:
    """Return a value without control characters, which no field of the ledger holds."""
    value = params.get(name, "")
    if len(value) > longest:
        raise _invalid(f"{name} may have {longest} characters; this has {len(value)}.")
    return "".join(each if each.isprintable() else " " for each in value).strip()


def _words(params: QueryParams, name: str, kind: type[_Word]) -> tuple[_Word, ...]:
    given = dict.fromkeys(each for each in params.getlist(name) if each)
    known = {str(each) for each in kind}
    if not known.issuperset(given):
        raise _invalid(f"{name} is one of {', '.join(sorted(known))}.")
    return tuple(kind(each) for each in given)


def _last(words: Sequence[_Word]) -> _Word | None:
    return words[-1] if words else None


def _day(params: QueryParams, name: str) -> date | None:
    given = params.get(name, "").strip()
    if not given:
        return None
    try:
        day = date.fromisoformat(given)
        for each in (day, day + timedelta(days=1)):
            _midnight(each)  # some days have no seconds since the epoch
    except (ValueError, OverflowError) as exc:
        raise _invalid(f"{name} is a day such as 2026-01-31.") from exc
    return day


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day).astimezone().timestamp()


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) else (value,)


def _invalid(detail: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
