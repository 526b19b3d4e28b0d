"""Decoders that sleep, spin, grow, crash or send nonsense: each ends alone, with its reason."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.decoding import (
    Answer,
    DecoderPool,
    DecodersBusyError,
    DecodersLostError,
    DecodingError,
    Template,
)
from service.decoding.pool import HandlerError
from service.domain.reasons import Reason
from service.settings import DecodingSettings

LIMITS = DecodingSettings(quick_seconds=0.3, seconds=0.6, memory_bytes=1 << 26)


def work(seconds: float, left: float | None = None) -> None:
    """Use so much processor time, of which so much is left, if that is said."""
    if left is not None:
        signal.setitimer(signal.ITIMER_PROF, left)
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


class Double:
    """A decoder that does what its request says."""

    def prepare(self) -> None:
        """Need nothing."""

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        match request["do"]:
            case "sleep":
                time.sleep(request["seconds"])
            case "work":
                work(request["seconds"], request.get("left"))
            case "grow":
                bytearray(1 << 27)
            case "keep":  # as the traceback of an error keeps what its frames hold
                kept: list[object] = [bytearray(1 << 25)]
                kept.append(kept)
            case "segfault":
                ctypes.string_at(0)
            case "abort":
                os.abort()
            case "raise":
                raise ValueError("a patient's name")
            case "open":
                Path("/nowhere/at/all").read_bytes()
        return Answer(
            values={"pid": os.getpid(), "left": signal.getitimer(signal.ITIMER_PROF)[0]},
            arrays={"pixels": np.arange(6, dtype=np.float32).reshape(2, 3)},
        )


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    template = Template(Double())
    yield template
    template.close()


@pytest.fixture
def pool(template: Template) -> Iterator[DecoderPool]:
    pool = DecoderPool(template, LIMITS, 2)
    yield pool
    pool.close()


def wait_until_ended(pid: int) -> None:
    """Wait until a process is gone, or a zombie that nobody has collected."""
    stat, until = Path(f"/proc/{pid}/stat"), time.monotonic() + 60
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}:
        assert time.monotonic() < until
        time.sleep(0.01)


def well(pool: DecoderPool) -> Answer:
    return pool.ask({"do": "well"})


def test_an_array_comes_back_as_it_was_and_can_be_written_to(pool: DecoderPool) -> None:
    pixels = well(pool).arrays["pixels"]
    assert pixels.tolist() == [[0, 1, 2], [3, 4, 5]]
    pixels[0, 0] = 7
    assert pixels[0, 0] == 7


def test_a_decoder_answers_again_after_it_answered(pool: DecoderPool) -> None:
    assert well(pool).values["pid"] == well(pool).values["pid"]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"do": "sleep", "seconds": 30}, Reason.DECODER_TIMEOUT),
        ({"do": "grow"}, Reason.DECODER_OUT_OF_MEMORY),
        ({"do": "segfault"}, Reason.DECODER_CRASHED),
        ({"do": "abort"}, Reason.DECODER_CRASHED),
    ],
    ids=["sleeps", "grows", "segfaults", "aborts"],
)
def test_a_decoder_that_fails_costs_its_own_request_alone(
    pool: DecoderPool, request_: dict[str, Any], reason: Reason
) -> None:
    began = time.monotonic()
    with pytest.raises(DecodingError) as raised:
        pool.ask(request_)
    assert raised.value.reason is reason
    assert time.monotonic() - began < 5
    assert well(pool).arrays["pixels"].shape == (2, 3)


def test_each_request_has_its_whole_processor_time_whatever_the_decoder_used(
    template: Template,
) -> None:
    pool = DecoderPool(template, LIMITS, 1)
    for _ in range(12):  # more than twice the limit of one
        pool.ask({"do": "work", "seconds": 0.2})
    left = well(pool).values["left"]
    pool.close()
    assert LIMITS.quick_seconds + LIMITS.seconds < left < 3


def test_a_request_that_uses_up_its_processor_time_takes_too_long(template: Template) -> None:
    pool = DecoderPool(template, LIMITS.model_copy(update={"quick_seconds": 600}), 1)
    pid = well(pool).values["pid"]
    with pytest.raises(DecodingError) as raised:
        pool.ask({"do": "work", "seconds": 600, "left": 0.05})
    assert raised.value.reason is Reason.DECODER_TIMEOUT
    wait_until_ended(pid)
    pool.close()


@pytest.fixture
def busy_processor() -> Iterator[int]:
    """Keep one processor busy with three processes, and return its number."""
    allowed = os.sched_getaffinity(0)
    one = min(allowed)
    os.sched_setaffinity(0, {one})
    spinning = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(3)]
    os.sched_setaffinity(0, allowed)
    yield one
    for each in spinning:
        each.kill()
        each.wait()


def test_a_decoder_that_waits_for_a_processor_is_not_blamed_for_it(
    template: Template, busy_processor: int
) -> None:
    limits = LIMITS.model_copy(update={"seconds": 2})
    pool = DecoderPool(template, limits, 1)
    os.sched_setaffinity(well(pool).values["pid"], {busy_processor})
    began = time.monotonic()
    assert pool.ask({"do": "work", "seconds": 0.8}).values
    taken = time.monotonic() - began
    assert taken > limits.quick_seconds + limits.seconds, "the processor was not busy enough"
    pool.close()


def test_what_a_request_leaves_in_a_cycle_is_no_burden_to_the_next(pool: DecoderPool) -> None:
    pids = {pool.ask({"do": "keep"}).values["pid"] for _ in range(4)}
    assert len(pids) == 1


def test_slow_requests_hold_up_quick_ones_for_a_moment_only(template: Template) -> None:
    pool = DecoderPool(template, LIMITS.model_copy(update={"seconds": 1}), 2)
    with ThreadPoolExecutor(3) as threads:
        slow = [threads.submit(pool.ask, {"do": "sleep", "seconds": 30}) for _ in range(3)]
        time.sleep(0.1)
        assert well(pool).values
        assert not any(each.done() for each in slow)
        reasons = {getattr(each.exception(), "reason", None) for each in slow}
    assert reasons == {Reason.DECODER_TIMEOUT}
    pool.close()


def test_a_caller_that_cannot_wait_hears_that_all_are_busy(template: Template) -> None:
    pool = DecoderPool(template, LIMITS, 1)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(pool.ask, {"do": "sleep", "seconds": 0.25})
        time.sleep(0.05)
        with pytest.raises(DecodersBusyError):
            pool.ask({"do": "well"}, patience=0.01)
        assert slow.result().values
    pool.close()


def test_an_error_of_a_handler_arrives_without_its_words(pool: DecoderPool) -> None:
    with pytest.raises(HandlerError, match=r"^ValueError\n") as raised:
        pool.ask({"do": "raise"})
    assert "patient's name" not in str(raised.value).splitlines()[0]
    with pytest.raises(FileNotFoundError):
        pool.ask({"do": "open"})


def test_a_decoder_that_was_killed_while_idle_is_replaced(pool: DecoderPool) -> None:
    first = int(well(pool).values["pid"])
    os.kill(first, signal.SIGKILL)
    wait_until_ended(first)
    assert well(pool).values["pid"] != first


def test_decoders_end_with_their_template() -> None:
    template = Template(Double())
    pool = DecoderPool(template, LIMITS, 1)
    pid = well(pool).values["pid"]
    template.close()
    wait_until_ended(int(pid))
    with pytest.raises(DecodersLostError):
        template.fork()
    pool.close()
