from service.access.throttle import SIGN_IN, TOKEN, Throttle


def test_each_address_and_kind_has_its_own_attempts() -> None:
    throttle = Throttle(2)
    assert [throttle.attempt(SIGN_IN, "192.0.2.1") for _ in range(2)] == [None, None]
    wait = throttle.attempt(SIGN_IN, "192.0.2.1")
    assert wait is not None
    assert 1 <= wait <= 60
    assert throttle.seconds_to_wait(SIGN_IN, "192.0.2.1") == wait
    assert throttle.seconds_to_wait(TOKEN, "192.0.2.1") is None
    assert throttle.attempt(SIGN_IN, "192.0.2.2") is None


def test_asking_how_long_to_wait_counts_as_nothing() -> None:
    throttle = Throttle(1)
    assert [throttle.seconds_to_wait(TOKEN, "a") for _ in range(3)] == [None] * 3
    assert throttle.attempt(TOKEN, "a") is None


def test_the_attempts_are_forgotten_when_the_clock_is_set() -> None:
    """Else an address would wait for as long as the clock was set back."""
    at_boot = [1.8e9]
    throttle = Throttle(1, lambda: at_boot[0])
    assert throttle.attempt(SIGN_IN, "a") is None
    assert throttle.attempt(SIGN_IN, "a") is not None
    at_boot[0] -= 3_600
    assert throttle.seconds_to_wait(SIGN_IN, "a") is None
    assert throttle.attempt(SIGN_IN, "a") is None
    assert throttle.attempt(SIGN_IN, "a") is not None
