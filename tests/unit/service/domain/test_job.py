"""Job states and their transitions, the back-off, the coded reasons."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.backoff import backoff_seconds
from service.domain.job import FINISHED, FOLLOWERS, JobState, TransitionError, require_may_follow
from service.domain.reasons import EXPLANATIONS, Reason


def test_every_state_has_its_followers_and_from_an_end_leads_only_another_analysis() -> None:
    assert FOLLOWERS.keys() == set(JobState)
    again = frozenset({JobState.RECEIVED})
    assert {state for state, following in FOLLOWERS.items() if following == again} == FINISHED


def test_an_end_can_be_reached_from_every_state() -> None:
    reachable = set(FINISHED)
    for _ in JobState:
        reachable |= {state for state, following in FOLLOWERS.items() if following & reachable}
    assert reachable == set(JobState)


@pytest.mark.parametrize("present", JobState)
@pytest.mark.parametrize("following", JobState)
def test_what_may_not_follow_is_refused_by_name(present: JobState, following: JobState) -> None:
    if following in FOLLOWERS[present]:
        require_may_follow(present, following)
    else:
        with pytest.raises(TransitionError, match=f"^{following} may not follow {present}$"):
            require_may_follow(present, following)


@settings(deadline=None)
@given(
    st.integers(-5, 10**6),
    st.floats(0.001, 1e6),
    st.floats(1, 1e6),
    st.floats(0, 1),
)
def test_a_pause_doubles_within_its_bounds(
    tries: int, first: float, times: float, jitter: float
) -> None:
    longest = first * times
    pause = backoff_seconds(tries, first=first, longest=longest, jitter=jitter)
    doubled = longest if tries > 64 else min(first * 2 ** (max(tries, 1) - 1), longest)
    assert doubled * (1 - jitter) - 1e-9 <= pause <= doubled * (1 + jitter) * (1 + 1e-9)


def test_pauses_are_spread_so_that_failures_do_not_march_in_step() -> None:
    pauses = {backoff_seconds(3, first=5, longest=300) for _ in range(20)}
    assert len(pauses) > 10
    assert all(15 <= pause <= 25 for pause in pauses)


def test_every_reason_is_explained_in_one_sentence_and_is_fit_for_a_label() -> None:
    assert EXPLANATIONS.keys() == set(Reason)
    for reason, explanation in EXPLANATIONS.items():
        assert reason.replace("-", "").isalpha()
        assert explanation.endswith(".")
        assert "\n" not in explanation
