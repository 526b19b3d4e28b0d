"""The judge of the soak: what it must find, and what it must not."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.soak import Sample, Samples


def growth(**each_time: float) -> list[str]:
    """Judge a process sampled each second for 100 s that grows by so much each time."""
    samples = Samples()
    for second in range(100):
        for process, rate in (("steady", 0.0), ("growing", 1.0)):
            samples.add(
                process,
                Sample(
                    at=float(second),
                    rss_bytes=int(200e6 + rate * second * each_time.get("rss_bytes", 0)),
                    descriptors=int(30 + rate * second * each_time.get("descriptors", 0)),
                    threads=int(12 + rate * second * each_time.get("threads", 0)),
                ),
            )
    return [line for trend in samples.trends() for line in trend.growth()]


def test_what_stays_the_same_is_no_growth() -> None:
    assert growth() == []


@pytest.mark.parametrize(
    ("each_time", "found"),
    [
        ({"descriptors": 1}, "growing: descriptors"),
        ({"threads": 1}, "growing: threads"),
        ({"rss_bytes": 2e6}, "growing: memory"),
    ],
)
def test_a_leak_is_found_in_its_process(each_time: dict[str, float], found: str) -> None:
    (line,) = growth(**each_time)
    assert line.startswith(found)


def test_growth_before_the_end_of_the_warm_up_is_none() -> None:
    samples = Samples()
    for second in range(100):
        samples.add(
            "warm",
            Sample(
                at=float(second),
                rss_bytes=int(100e6 + min(second, 20) * 20e6),
                descriptors=30 + min(second, 20),
                threads=12,
            ),
        )
    assert [line for trend in samples.trends() for line in trend.growth()] == []


def test_a_process_that_ended_early_is_not_judged() -> None:
    samples = Samples()
    sample = {"rss_bytes": 1, "descriptors": 1, "threads": 1}
    for second in range(100):
        samples.add("whole", Sample(at=float(second), **sample))
        if second < 40:
            samples.add("short", Sample(at=float(second), **sample))
    assert [trend.process for trend in samples.trends()] == ["whole"]


def test_listeners_are_sampled_together_and_other_processes_each(tmp_path: Path) -> None:
    samples = Samples()
    with ExitStack() as running:
        for word in ("listener", "listener", "relay", "relay"):
            command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", word]
            process = subprocess.Popen(
                command, env={"LOBAR_STATE_DIR": str(tmp_path)}, stdout=subprocess.PIPE
            )
            running.callback(process.wait)
            running.callback(process.kill)
            assert process.stdout is not None
            running.callback(process.stdout.close)
            process.stdout.readline()  # it runs
        for _ in range(20):  # some fall into the first third and some into the last
            samples.take(tmp_path)
    threads = {trend.process: trend.first.threads for trend in samples.trends()}
    assert threads.pop("listener, 2 processes") == 2
    assert list(threads.values()) == [1, 1]
