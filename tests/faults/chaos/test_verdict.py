"""The verdict of a chaos run catches what is lost, doubled, changed and unbalanced."""

from dataclasses import replace

import pytest
from faults.chaos.verdict import AtRest, Held, Sent, Verdict, judge

FIRST = Sent(version=("1.2.1", 0), acknowledged=True, in_scope=True)
CORRECTED = Sent(version=("1.2.1", 1), acknowledged=True, in_scope=True)
SECOND = Sent(version=("1.2.2", 0), acknowledged=True, in_scope=True)
UNKNOWN = Sent(version=("1.2.3", 0), acknowledged=False, in_scope=True)
LATERAL = Sent(version=("1.2.4", 0), acknowledged=True, in_scope=False)
SENT = [FIRST, CORRECTED, SECOND, UNKNOWN, LATERAL]
AT_REST = AtRest(received=4, balance=0, in_flight=0)


def report(sent: Sent, uid: str = "", sha256: str = "") -> Held:
    return Held(report_uid=uid or f"9.{sent.version}", about=sent.version, sha256=sha256)


HELD = [report(each) for each in (FIRST, CORRECTED, SECOND)]


def verdict(held: list[Held], at_rest: AtRest = AT_REST, expected: tuple[str, ...] = ()) -> Verdict:
    return judge(SENT, {"one": held, "two": HELD}, at_rest, expected)


def test_a_run_in_which_each_acknowledged_version_has_one_report_is_good() -> None:
    assert verdict(HELD).faults == []


def test_what_was_not_acknowledged_may_have_a_report_or_none_but_never_two() -> None:
    known = replace(AT_REST, received=5)
    assert verdict([*HELD, report(UNKNOWN)], known).faults == []
    twice = [*HELD, report(UNKNOWN, "9.1"), report(UNKNOWN, "9.2")]
    assert len(verdict(twice, known).doubled) == 1


@pytest.mark.parametrize("lost", HELD)
def test_a_lost_report_is_found_of_a_first_version_and_of_a_correction(lost: Held) -> None:
    found = verdict([each for each in HELD if each is not lost])
    assert found.lost == [
        f"{lost.about[0]}, version {lost.about[1]}, was acknowledged; one has no report of it"
    ]
    assert len(found.faults) == 1


def test_a_report_lost_on_one_side_of_two_is_found() -> None:
    found = judge(SENT, {"one": HELD, "two": []}, AT_REST)
    assert len(found.lost) == 3


def test_a_second_report_of_the_same_version_is_found_and_the_same_one_sent_twice_is_not() -> None:
    assert verdict([*HELD, HELD[0]]).faults == []
    found = verdict([*HELD, report(FIRST, "9.9")])
    assert found.doubled == ["1.2.1, version 0, has 2 reports in one"]
    assert len(found.faults) == 1


def test_a_report_that_was_sent_again_with_other_bytes_is_found() -> None:
    same = [report(FIRST, sha256="a"), report(FIRST, sha256="a"), *HELD[1:]]
    assert verdict(same).faults == []
    found = verdict([report(FIRST, sha256="a"), report(FIRST, sha256="b"), *HELD[1:]])
    assert len(found.changed) == len(found.faults) == 1


def test_a_report_of_what_nobody_sent_or_what_is_out_of_scope_is_found() -> None:
    never = Sent(version=("1.2.9", 0), acknowledged=False, in_scope=True)
    found = verdict([*HELD, report(never), report(LATERAL)])
    assert len(found.unasked) == len(found.faults) == 2


@pytest.mark.parametrize(
    ("at_rest", "words"),
    [
        (replace(AT_REST, balance=1), "lobar_balance is 1"),
        (replace(AT_REST, balance=-1), "lobar_balance is -1"),
        (replace(AT_REST, balances=[0, 3, 0, -2]), "was not 0 in 2 of 4 answers: -2 to 3"),
        (replace(AT_REST, in_flight=2), "2 jobs are in flight"),
        (replace(AT_REST, received=3), "3 were received, of 4 that were acknowledged"),
        (replace(AT_REST, received=6), "6 were received"),
    ],
)
def test_an_unbalanced_run_is_found(at_rest: AtRest, words: str) -> None:
    (fault,) = verdict(HELD, at_rest).faults
    assert words in fault


def test_a_parked_job_accounts_for_a_missing_report_only_where_its_reason_is_expected() -> None:
    parked = replace(AT_REST, parked=[("1.2.2", "attempts-exhausted")])
    both = [report(FIRST), report(CORRECTED)]
    held = {"one": both, "two": both}
    assert judge(SENT, held, parked, ["attempts-exhausted"]).faults == []
    found = judge(SENT, held, parked)
    assert found.unexpectedly_parked == ["1.2.2 for attempts-exhausted"]
    assert len(found.lost) == 2


def test_one_parked_job_accounts_for_one_version_only() -> None:
    parked = replace(AT_REST, parked=[("1.2.1", "attempts-exhausted")])
    held = {"one": [report(SECOND)]}
    assert len(judge(SENT, held, parked, ["attempts-exhausted"]).lost) == 1
