"""The values of the page of an instance: the patient, the scale, the timeline, the revisions."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from service.domain.audit import Action, AuditRecord
from service.domain.job import Event, JobState, Revision
from service.domain.reasons import EXPLANATIONS, Reason
from service.domain.verdict import Opinion, Verdict
from service.web.instance.bundle_facts import bundle_facts, model_card
from service.web.instance.probability_scale import ProbabilityScale
from service.web.instance.revisions import revision_rows
from service.web.instance.timeline import WORDS, timeline
from service.web.patient_words import age_at, person_name, study_order, written_date

Detail = dict[str, str | int | float | bool | None]
LEDGER: Final = Path(__file__).resolve().parents[4] / "service" / "storage" / "ledger"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Doe^Jane", "Doe, Jane"),
        ("Doe^Jane^Mary^Dr^MD", "Doe, Dr Jane Mary, MD"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田, 太郎; やまだ, たろう)"),
        ("=山田^太郎", "山田, 太郎"),
        ("^Jane", "Jane"),
        ("^^^^=^=", ""),
        ("^^^", ""),
        ("", ""),
        ("Doe", "Doe"),
        ("Doe^Jane^^^^^^^too many", "Doe, Jane"),
        ("<b>^=^=", "<b>"),
    ],
)
def test_a_name_is_written_as_people_write_it(name: str, written: str) -> None:
    assert person_name(name) == written


@pytest.mark.parametrize(
    ("born", "then", "age"),
    [
        ("20230115", "20260504", "3 years"),
        ("20230505", "20260504", "2 years"),
        ("20250104", "20260504", "16 months"),
        ("20260405", "20260504", "29 days"),
        ("20260503", "20260504", "1 day"),
        ("20260504", "20260504", "0 days"),
        ("20000229", "20010228", "11 months"),
        ("19260504", "20260504", "100 years"),
        ("20260505", "20260504", ""),
        ("20261399", "20260504", ""),
        ("", "20260504", ""),
        ("2026", "20260504", ""),
        ("²0²30115", "20260504", ""),
    ],
)
def test_an_age_is_in_years_and_of_infants_in_months_or_days(
    born: str, then: str, age: str
) -> None:
    assert age_at(born, then) == age


def test_what_is_no_date_stays_as_it_is() -> None:
    assert [written_date(text) for text in ("20260504", "2026", "", "x")] == [
        *("2026-05-04", "2026", "", "x"),
    ]


def scale(*, low: float | None, high: float | None) -> ProbabilityScale:
    return ProbabilityScale(
        finding="present",
        probability=0.9,
        operating_point="balanced",
        threshold=0.5,
        low=low,
        high=high,
    )


def test_a_band_is_drawn_where_there_is_one() -> None:
    assert scale(low=0.4, high=0.6).has_band
    assert not scale(low=0.5, high=0.5).has_band
    assert not scale(low=None, high=None).has_band


def test_a_study_is_earlier_or_later_by_its_date_alone() -> None:
    for other, order in (
        ("20250101", "earlier"),
        ("20260504", "same day"),
        ("20260505", "later"),
        ("", ""),
        ("2025", ""),
    ):
        assert study_order(other, "20260504") == order
    assert study_order("20250101", "") == ""


def test_places_on_the_scale_stay_inside_it() -> None:
    places = [ProbabilityScale.place(value) for value in (-1.0, 0.0, 0.5, 1.0, 7.0)]
    assert places == [30.0, 30.0, 500.0, 970.0, 970.0]


def test_every_event_of_a_trace_has_words() -> None:
    source = "\n".join(path.read_text() for path in LEDGER.rglob("*.py"))
    named = re.findall(r"append_(?:delivery_)?event\(\s*[^\"()]*?\"([a-z-]+)\"", source)
    assert len(named) > 12
    assert {*named, *JobState} - {"dismissed"} <= WORDS.keys()


def test_a_timeline_is_in_order_with_the_time_between_steps() -> None:
    verdict = Verdict(
        at=9.0,
        user="rita",
        opinion=Opinion.DISAGREE,
        right_finding="absent",
        comment="",
        job_id="j",
        report_uid="2.25.1",
        sop_instance_uid="1.2",
        digest="a",
        finding="present",
        probability=0.9,
        operating_point="balanced",
        model="m 1",
        population=None,
    )
    sent: Detail = {"kind": "sr", "destination": "pacs", "status": "0x0000", "attempt": 1}
    steps = timeline(
        [
            Event(at=1.0, name="received", detail={"size_bytes": 10}),
            Event(at=1.5, name="output-delivered", detail=sent),
            Event(at=8.0, name="dismissed", detail={"why": "a test"}),
            Event(at=8.0, name="an-event-of-later", detail={"why": "full"}),
        ],
        [AuditRecord(at=7.0, action=Action.DISMISS, user="", job_id="j")],
        [verdict],
    )
    assert [(step.code, step.after) for step in steps] == [
        ("received", 0.0),
        ("output-delivered", 0.5),
        ("dismiss", 5.5),
        ("dismissed", 1.0),
        ("an-event-of-later", 0.0),
        ("verdict", 1.0),
    ]
    delivered, dismissal, dismissed, later, judged = steps[1:]
    assert (delivered.output, delivered.status) == ("sr to pacs", "0x0000 Success")
    assert (delivered.later, dismissal.later) == ("500 ms", "5.5 s")
    assert dismissal.who == "somebody who was not signed in"
    assert (dismissed.reason, dismissed.detail) == ("a test", "")
    assert (later.words, later.why, later.reason) == ("an-event-of-later", "full", "")
    assert (judged.words, judged.who) == (
        "Verdict: disagrees with the report: absent, not present",
        "rita",
    )


def postponed(at: float, kind: str, destination: str = "pacs", why: str = "unreachable") -> Event:
    detail: Detail = {"kind": kind, "destination": destination, "why": why}
    return Event(at=at, name="output-postponed", detail=detail)


def test_equal_steps_of_one_destination_are_folded_until_something_else_happens() -> None:
    steps = timeline(
        [
            postponed(1.0, "sr"),
            postponed(2.0, "overlay"),
            postponed(5.0, "sr"),
            postponed(6.0, "sr", destination="archive"),
            postponed(7.0, "sr"),
            postponed(8.0, "sr", why="timeout"),
            Event(at=9.0, name="leased", detail={}),
            Event(at=9.5, name="leased", detail={}),
        ]
    )
    assert [(step.output, step.times, step.at, step.last_at, step.after) for step in steps] == [
        ("sr, overlay to pacs", 3, 1.0, 5.0, 0.0),
        ("sr to archive", 1, 6.0, None, 1.0),
        ("sr to pacs", 1, 7.0, None, 1.0),
        ("sr to pacs", 1, 8.0, None, 1.0),
        ("", 1, 9.0, None, 1.0),
        ("", 1, 9.5, None, 0.5),
    ]


def test_a_coded_reason_of_a_step_is_in_words() -> None:
    detail: Detail = {"reason": "report-failed"}
    (step,) = timeline([Event(at=1.0, name="parked", detail=detail)])
    assert (step.why, step.reason_code) == (EXPLANATIONS[Reason.REPORT_FAILED], "report-failed")
    assert step.detail == ""


@dataclass(frozen=True)
class Said:
    finding: str
    probability: float

    def event(self, uid: str) -> Event:
        detail: Detail = {"report": uid, "finding": self.finding, "probability": self.probability}
        return Event(at=1.0, name="reported", detail=detail)


def revision(number: int, uid: str, predecessor: int | None) -> Revision:
    return Revision(
        id=number,
        job_id="j",
        sop_class_uid="1.2",
        sop_instance_uid=uid,
        series_instance_uid="1.3",
        predecessor=predecessor,
        dated_at=1.0,
    )


def test_a_revision_says_what_changed_where_both_are_known() -> None:
    rows = revision_rows(
        [revision(11, "a", None), revision(12, "b", 11), revision(15, "c", 12)],
        {"b": Said("absent", 0.1).event("b"), "c": Said("present", 0.9).event("c")},
    )
    assert [(row.number, row.replaces, row.said, row.is_known) for row in rows] == [
        (1, None, "", False),
        (2, 1, "absent, 0.100", True),
        (3, 2, "present, 0.900", True),
    ]
    assert [row.changes for row in rows] == [
        (),
        (),
        ("finding: absent → present", "probability: 0.100 → 0.900"),
    ]


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "[]",
        "{",
        '{"populations": 3}',
        '{"populations": {"adults": {"validated": "yes"}}}',
        '{"populations": {"adults": {"operating_points": []}}}',
        '{"populations": {"adults": {"operating_points": {"balanced": {"sensitivity": 1}}}}}',
        '{"populations": {"adults": {"operating_points": {"balanced": {"specificity": 7}}}}}',
        "x" * 2_000_000,
    ],
)
def test_a_bundle_that_says_nothing_of_itself_is_not_quoted(tmp_path: Path, metadata: str) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text(metadata)
    facts = bundle_facts(tmp_path, "adults", "balanced")
    assert facts is None or (facts.is_validated, facts.performance) == (None, "")
    assert bundle_facts(tmp_path / "nowhere", "adults") is None
    assert model_card(tmp_path) is None
