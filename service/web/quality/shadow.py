"""What a shadow model would have said, in figures: agreement, differences, would-be changes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.monitoring.shadow import Comparison
from service.domain.routing import Outcome
from service.storage.ledger import Ledger
from service.storage.ledger.reading.comparisons import Compared, JudgedPair, OutcomePair, Pair
from service.web.quality.proportion import Proportion

OUTCOMES: Final = tuple(Outcome)
MOST_CHANGES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """The shadow's probabilities less the reported ones, where both models gave one."""

    count: int
    mean: float
    mean_absolute: float
    median_absolute: float
    percentile_95_absolute: float
    largest_absolute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How often each model said what radiologists say is right."""

    reported: Proportion
    shadow: Proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The comparison of two models over a range of time.

    Attributes:
        since, until: the range, seconds since the epoch.
        pairs: all models that were compared in it, the latest pair first.
        pair: the one that the figures are of; None where nothing was compared.
        table: instances by what was reported, and by what the shadow model said.
        kappa: Cohen's; None where both models always said the same one thing.
        changes: instances whose report would have another outcome, the latest ones.
        pending: instances that the shadow model has not read yet.
        failures: instances that it could not read, by why.
    """

    since: float
    until: float
    pairs: Sequence[Pair]
    pair: Pair | None
    table: dict[Outcome, dict[Outcome, int]]
    agreement: Proportion
    kappa: float | None
    differences: Differences | None
    judged: Judged
    changes: Sequence[Comparison]
    pending: int
    failures: dict[str, int]

    @property
    def changed(self) -> Proportion:
        """How many reports would have another outcome."""
        return Proportion(self.agreement.of - self.agreement.count, self.agreement.of)


def summarise(ledger: Ledger, since: float, until: float, number: int = 0) -> Summary:
    """Compare two models over what was read in [since, until).

    Args:
        ledger: where it is.
        since: seconds since the epoch.
        until: likewise.
        number: which pair of models, counted from 0, the latest first.
    """
    pairs = ledger.comparisons.pairs(since, until)
    pair = pairs[number] if number < len(pairs) else None
    compared = Compared(
        since=since,
        until=until,
        reported=pair.reported if pair else "",
        shadow=pair.shadow if pair else "",
    )
    table = _table(ledger.comparisons.outcomes(compared))
    return Summary(
        since=since,
        until=until,
        pairs=pairs,
        pair=pair,
        table=table,
        agreement=_agreement(table),
        kappa=kappa(table),
        differences=differences(ledger.comparisons.differences(compared)),
        judged=_judged(ledger.comparisons.judged(compared)),
        changes=ledger.comparisons.changes(compared, MOST_CHANGES),
        pending=ledger.shadows.pending(),
        failures=ledger.comparisons.failures(since, until),
    )


def _table(pairs: Iterable[OutcomePair]) -> dict[Outcome, dict[Outcome, int]]:
    table = {reported: dict.fromkeys(OUTCOMES, 0) for reported in OUTCOMES}
    for each in pairs:
        table[each.reported][each.shadow] += each.count
    return table


def _agreement(table: dict[Outcome, dict[Outcome, int]]) -> Proportion:
    same = sum(table[each][each] for each in OUTCOMES)
    return Proportion(same, sum(sum(row.values()) for row in table.values()))


def kappa(table: dict[Outcome, dict[Outcome, int]]) -> float | None:
    """Return Cohen's kappa (Educational and Psychological Measurement 20:37, 1960).

    None where nothing was compared, or both models always said the same one thing.
    """
    agreement = _agreement(table)
    if not agreement.of:
        return None
    by_chance = sum(
        sum(table[each].values()) * sum(row[each] for row in table.values()) for each in OUTCOMES
    ) / (agreement.of**2)
    if math.isclose(by_chance, 1):
        return None
    return (agreement.count / agreement.of - by_chance) / (1 - by_chance)


def differences(found: Sequence[float]) -> Differences | None:
    """Return the figures of differences; None of none."""
    if not found:
        return None
    sizes = sorted(map(abs, found))
    return Differences(
        count=len(sizes),
        mean=sum(found) / len(found),
        mean_absolute=sum(sizes) / len(sizes),
        median_absolute=_percentile(sizes, 0.5),
        percentile_95_absolute=_percentile(sizes, 0.95),
        largest_absolute=sizes[-1],
    )


def _percentile(ascending: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share does not exceed."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def _judged(pairs: Iterable[JudgedPair]) -> Judged:
    of = reported = shadow = 0
    for each in pairs:
        of += each.count
        reported += each.count * (each.reported == each.right)
        shadow += each.count * (each.shadow == each.right)
    return Judged(reported=Proportion(reported, of), shadow=Proportion(shadow, of))
