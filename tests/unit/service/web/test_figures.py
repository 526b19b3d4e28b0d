"""The figures of the quality page, from counts."""

from service.domain.reasons import Reason
from service.domain.verdict import Opinion
from service.storage.ledger.reading.statistics import BINS, OutcomeCount, Period, VerdictCount
from service.web.quality import figures
from service.web.quality.proportion import Proportion

MONDAY = 1_700_438_400
WEEK = Period.WEEK.seconds


def said(opinion: str, finding: str, right: str | None = None, count: int = 1) -> VerdictCount:
    return VerdictCount(
        start=MONDAY, finding=finding, opinion=Opinion(opinion), right_finding=right, count=count
    )


def outcome(finding: str | None, reason: Reason | None, count: int, week: int = 0) -> OutcomeCount:
    return OutcomeCount(start=MONDAY + week * WEEK, finding=finding, reason=reason, count=count)


VERDICTS = [
    said("agree", "present", count=8),
    said("disagree", "present", "absent", count=2),
    said("disagree", "present", None),
    said("unsure", "absent", count=3),
    said("agree", "absent", count=5),
]


def test_agreement_leaves_out_those_who_are_unsure() -> None:
    present, absent, indeterminate, every = figures.agreements(VERDICTS)
    assert (present.rate, absent.rate) == (Proportion(8, 11), Proportion(5, 5))
    assert (absent.unsure, indeterminate.rate) == (3, Proportion(0, 0))
    assert (every.finding, every.rate) == ("all", Proportion(13, 16))


def test_the_confusion_has_each_verdict_once() -> None:
    table = figures.confusion(VERDICTS)
    assert table["present"] == {
        "present": 8,
        "absent": 2,
        "indeterminate": 0,
        "not stated": 1,
        "unsure": 0,
    }
    assert table["absent"]["absent"] == 5
    assert table["absent"]["unsure"] == 3
    assert sum(sum(row.values()) for row in table.values()) == 19


def test_a_week_without_verdicts_has_no_point() -> None:
    plot = figures.agreement_plot(VERDICTS, [MONDAY - WEEK, MONDAY])
    before, now = plot.series[0].points
    assert (before.value, before.words) == (None, "none counted")
    assert now.value == 13 / 16
    assert now.low is not None
    assert now.words.startswith("81.2% (")


def test_rates_have_every_period_and_nothing_is_counted_twice() -> None:
    counts = [
        outcome("present", None, 3),
        outcome("absent", None, 6),
        outcome("indeterminate", None, 1),
        outcome(None, Reason.LATERAL, 2),
        outcome(None, Reason.NOT_CHEST, 1),
        outcome(None, None, 4),
    ]
    empty, full = figures.rates(counts, [MONDAY - WEEK, MONDAY])
    assert (empty.finished, empty.without_result) == (0, 0)
    assert (full.analysed, full.not_analysed, full.finished, full.without_result) == (10, 3, 13, 4)
    plot = figures.finding_plot([empty, full], Period.WEEK)
    assert [point.value for point in plot.series[0].points] == [None, 0.3]
    assert plot.band[0] is None
    assert plot.band[1] is not None
    assert plot.band[1][0] < 0.3 < plot.band[1][1]
    refused = figures.refusal_plot([empty, full], Period.WEEK)
    assert [point.value for point in refused.series[0].points] == [None, 3 / 13]


def test_reasons_are_shares_of_the_films_with_a_result_the_most_frequent_first() -> None:
    recent = [
        outcome("absent", None, 6),
        outcome(None, Reason.LATERAL, 1),
        outcome(None, Reason.NOT_CHEST, 3),
        outcome(None, None, 90),
    ]
    before = [outcome("absent", None, 10), outcome(None, Reason.BLANK, 10)]
    assert [
        (each.reason, each.recent, each.before) for each in figures.reasons(recent, before)
    ] == [
        (Reason.NOT_CHEST, Proportion(3, 10), Proportion(0, 20)),
        (Reason.LATERAL, Proportion(1, 10), Proportion(0, 20)),
        (Reason.BLANK, Proportion(0, 10), Proportion(10, 20)),
    ]


def test_more_refusals_than_before_are_a_drift_of_reasons() -> None:
    before = [outcome("absent", None, 900), outcome(None, Reason.LATERAL, 100)]
    same = [outcome("present", None, 91), outcome(None, Reason.LATERAL, 9)]
    more = [outcome("absent", None, 50), outcome(None, Reason.LATERAL, 50)]
    assert figures.reason_drift(same, before).words.startswith("No more change")
    assert figures.reason_drift(more, before).words.startswith("A large change")


def test_higher_probabilities_than_before_are_a_drift() -> None:
    before = [20] * BINS
    low = [0] * (BINS // 2) + [4] * (BINS // 2)
    assert figures.probability_drift([2] * BINS, before).words.startswith("No more change")
    assert figures.probability_drift(low, before).words.startswith("A large change")
    plot = figures.probability_plot(low, before)
    assert [round(point.value or 0, 2) for point in plot.series[0].points] == [0] * 5 + [0.2] * 5
    assert plot.labels[0] == "0.0 to 0.1"
