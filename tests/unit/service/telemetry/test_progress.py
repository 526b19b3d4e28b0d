"""Progress by a clock that the test moves."""

import pytest

from service.telemetry.progress import LONGEST_STEP_SECONDS, Progress, StuckWork


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A progress that is asked every second, as the watchdog does."""

    def __init__(self) -> None:
        self._clock = Clock()
        self.progress = Progress(self._clock)

    def after(self, seconds: int) -> StuckWork | None:
        stuck = None
        for _ in range(seconds):
            self._clock.now += 1
            stuck = self.progress.stuck_work()
        return stuck

    def after_a_freeze(self, seconds: int) -> StuckWork | None:
        self._clock.now += seconds
        return self.progress.stuck_work()


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_waiting_without_work_is_not_being_stuck(watched: Watched) -> None:
    assert watched.after(10_000) is None


def test_work_is_stuck_once_its_step_takes_longer_than_its_limit(watched: Watched) -> None:
    with watched.progress.working("infer", 10):
        assert watched.after(10) is None
        assert watched.after(1) == StuckWork("infer", 11)
    assert watched.after(1) is None


def test_each_step_has_the_whole_limit(watched: Watched) -> None:
    with watched.progress.working("infer", 10):
        for _ in range(20):
            assert watched.after(9) is None
            watched.progress.touch("infer")


def test_one_work_that_hangs_shows_beside_others_that_go_on(watched: Watched) -> None:
    with watched.progress.working("pacs", 10), watched.progress.working("archive", 10):
        for _ in range(10):
            watched.after(2)
            watched.progress.touch("archive")
        assert watched.after(0) is None
        assert watched.after(1) == StuckWork("pacs", 21)


def test_a_touch_of_work_that_has_ended_counts_for_nothing(watched: Watched) -> None:
    with watched.progress.working("infer", 10):
        pass
    watched.progress.touch("infer")
    assert watched.after(100) is None


def test_work_that_raises_has_ended(watched: Watched) -> None:
    with pytest.raises(OSError, match="full"), watched.progress.working("infer", 10):
        raise OSError("full")
    assert watched.after(100) is None


def test_time_in_which_the_whole_process_was_frozen_does_not_count(watched: Watched) -> None:
    with watched.progress.working("infer", 10):
        assert watched.after_a_freeze(3600) is None
        assert watched.after(10 - int(LONGEST_STEP_SECONDS)) is None
        assert watched.after(1) is not None
