"""Turn the ledger's counts into the figures of the quality page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from service.domain.monitoring.drift import Drift, drift, equal_groups, grouped
from service.domain.monitoring.reference import ReferenceKind
from service.domain.reasons import Reason
from service.domain.verdict import Opinion
from service.storage.ledger.reading.statistics import BINS, OutcomeCount, Period, VerdictCount
from service.web.plot import Plot, Point, Series
from service.web.quality.proportion import Proportion, expected_band

FINDINGS: Final = ("present", "absent", "indeterminate")
_NOT_STATED: Final = "not stated"
_UNSURE: Final = "unsure"
_FEW: Final = 10  # of fewer cases a decimal says nothing
REFERENCE_WORDS: Final = {
    ReferenceKind.SITE: "accepted films of this site",
    ReferenceKind.BUNDLE: "the bundle's reference",
    ReferenceKind.BEFORE: "the eight weeks before",
}
ANSWERS: Final = (*FINDINGS, _NOT_STATED, _UNSURE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What radiologists said about one finding, or about all of them."""

    finding: str
    agree: int
    disagree: int
    unsure: int

    @property
    def rate(self) -> Proportion:
        """How many agree, of those who are sure."""
        return Proportion(self.agree, self.agree + self.disagree)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The outcomes of one period."""

    start: int  # seconds since the epoch
    present: int = 0
    absent: int = 0
    indeterminate: int = 0
    not_analysed: int = 0
    without_result: int = 0  # in progress, parked or dismissed

    @property
    def analysed(self) -> int:
        """How many have a finding."""
        return self.present + self.absent + self.indeterminate

    @property
    def finished(self) -> int:
        """How many have a finding or a reason why there is none."""
        return self.analysed + self.not_analysed


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """How often one reason was why there is no finding, this week and before."""

    reason: Reason
    recent: Proportion  # of the films with a result
    before: Proportion


def agreements(counts: Sequence[VerdictCount]) -> list[Agreement]:
    """Return what was said about each finding, and about all together at the end."""
    each = [
        _agreement(finding, [c for c in counts if c.finding == finding]) for finding in FINDINGS
    ]
    return [*each, _agreement("all", counts)]


def _agreement(finding: str, counts: Iterable[VerdictCount]) -> Agreement:
    said: Counter[Opinion] = Counter()
    for count in counts:
        said[count.opinion] += count.count
    return Agreement(
        finding=finding,
        agree=said[Opinion.AGREE],
        disagree=said[Opinion.DISAGREE],
        unsure=said[Opinion.UNSURE],
    )


def confusion(counts: Sequence[VerdictCount]) -> dict[str, dict[str, int]]:
    """Count by the model's finding and by what the radiologist says is right (`ANSWERS`)."""
    table = {finding: dict.fromkeys(ANSWERS, 0) for finding in FINDINGS}
    for count in counts:
        table[count.finding][_answer(count)] += count.count
    return table


def _answer(count: VerdictCount) -> str:
    if count.opinion is Opinion.AGREE:
        return count.finding
    return _UNSURE if count.opinion is Opinion.UNSURE else count.right_finding or _NOT_STATED


def agreement_plot(counts: Sequence[VerdictCount], starts: Sequence[int]) -> Plot:
    """Plot the rate of agreement by week."""
    weeks = [_agreement("all", [c for c in counts if c.start == start]).rate for start in starts]
    return Plot(
        title="radiologists who agree, by week",
        first_column="Week from",
        labels=tuple(map(day, starts)),
        series=(Series(name="Agree", points=tuple(map(_point, weeks))),),
    )


def rates(counts: Sequence[OutcomeCount], starts: Sequence[int]) -> list[Rates]:
    """Return the outcomes of each period, those without any among them."""
    by_start: dict[int, Counter[str]] = {start: Counter() for start in starts}
    for count in counts:
        by_start.setdefault(count.start, Counter())[_outcome(count)] += count.count
    return [Rates(start=start, **by_start[start]) for start in starts]


def _outcome(count: OutcomeCount) -> str:
    return count.finding or ("not_analysed" if count.reason else "without_result")


def finding_plot(periods: Sequence[Rates], period: Period) -> Plot:
    """Plot how often the finding is present, with the band around the base rate."""
    total = Proportion(sum(p.present for p in periods), sum(p.analysed for p in periods))
    base = total.share
    return Plot(
        title=f"findings by {period}, of the films analysed",
        first_column=_first_column(period),
        labels=tuple(day(each.start) for each in periods),
        series=tuple(
            Series(
                name=name.capitalize(),
                points=tuple(
                    _bare_point(Proportion(getattr(each, name), each.analysed)) for each in periods
                ),
            )
            for name in ("present", "indeterminate")
        ),
        band=tuple(
            expected_band(base, each.analysed) if base is not None and each.analysed else None
            for each in periods
        ),
        band_name="Present: where 95 % of the periods lie at the base rate of the whole time",
    )


def refusal_plot(periods: Sequence[Rates], period: Period) -> Plot:
    """Plot how often the model did not analyse a film."""
    points = [_bare_point(Proportion(each.not_analysed, each.finished)) for each in periods]
    return Plot(
        title=f"films not analysed by {period}, of those with a result",
        first_column=_first_column(period),
        labels=tuple(day(each.start) for each in periods),
        series=(Series(name="Not analysed", points=tuple(points)),),
    )


def reasons(recent: Sequence[OutcomeCount], before: Sequence[OutcomeCount]) -> list[ReasonCount]:
    """Return how often each reason occurred, the most frequent of this week first."""
    now, then = _by_reason(recent), _by_reason(before)
    found = sorted({*now, *then} - {None}, key=lambda each: (-now[each], -then[each], str(each)))
    return [
        ReasonCount(
            reason=reason,
            recent=Proportion(now[reason], now.total()),
            before=Proportion(then[reason], then.total()),
        )
        for reason in found
        if reason is not None
    ]


def reason_drift(recent: Sequence[OutcomeCount], before: Sequence[OutcomeCount]) -> Drift:
    """Compare how often each reason occurred; all films with a finding are one group more."""
    now, then = _by_reason(recent), _by_reason(before)
    groups = sorted({*now, *then}, key=str)
    return drift([now[each] for each in groups], [then[each] for each in groups])


def _by_reason(counts: Sequence[OutcomeCount]) -> Counter[Reason | None]:
    """Count the films with a result by reason; None is a finding."""
    found: Counter[Reason | None] = Counter()
    for count in counts:
        if count.finding or count.reason:
            found[count.reason] += count.count
    return found


def probability_drift(recent: Sequence[int], before: Sequence[int]) -> Drift:
    """Compare two histograms, in groups that held about as many films each before."""
    ends = equal_groups(before)
    return drift(grouped(recent, ends), grouped(before, ends))


def probability_plot(recent: Sequence[int], before: Sequence[int]) -> Plot:
    """Plot two histograms of probabilities, in ten bins."""
    ends = list(range(BINS // 10, BINS + 1, BINS // 10))
    return Plot(
        title="probabilities of pneumonia, this week and before",
        first_column="Probability",
        labels=tuple(f"{(end - BINS // 10) / BINS:.1f} to {end / BINS:.1f}" for end in ends),
        series=(
            Series(name="This week", points=_shares(grouped(recent, ends))),
            Series(name="Eight weeks before", points=_shares(grouped(before, ends))),
        ),
    )


def _shares(counts: Sequence[int]) -> tuple[Point, ...]:
    return tuple(_bare_point(Proportion(count, sum(counts))) for count in counts)


def day(start: int) -> str:
    """Format the beginning of a period."""
    return datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d")


def in_words(proportion: Proportion) -> str:
    """Format a share with its interval and counts, in words."""
    if proportion.share is None or proportion.interval is None:
        return "none counted"
    digits = 0 if proportion.of < _FEW else 1
    share, low, high = (f"{each:.{digits}%}" for each in (proportion.share, *proportion.interval))
    return f"{share} ({low} to {high}; {proportion.count:,} of {proportion.of:,})"


def _first_column(period: Period) -> str:
    return "Day" if period is Period.DAY else "Week from"


def _point(proportion: Proportion) -> Point:
    low, high = proportion.interval or (None, None)
    return Point(value=proportion.share, low=low, high=high, words=in_words(proportion))


def _bare_point(proportion: Proportion) -> Point:
    """Build a point without its interval, for a plot that has a band or many points."""
    return Point(value=proportion.share, words=in_words(proportion))
