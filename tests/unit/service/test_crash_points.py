"""A process ends at the crash point that is armed, at the passing that was said."""

import signal
import subprocess
import sys
from typing import Final

import pytest

from service.crash_points import CrashPoint, CrashPointError, arm, passed
from service.errors import EX_CONFIG

PASSES: Final = """
from service.crash_points import CrashPoint, arm, passed
arm({text!r})
for number in range(3):
    passed(CrashPoint.DELIVER_LEASED)
    passed(CrashPoint.DELIVER_RECORDED)
    print(number, flush=True)
"""


def run(text: str | None) -> tuple[int, str]:
    command = [sys.executable, "-c", PASSES.format(text=text)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("text", "status", "output"),
    [
        (None, 0, "0\n1\n2\n"),
        ("", 0, "0\n1\n2\n"),
        ("deliver.recorded", -signal.SIGKILL, ""),
        ("deliver.recorded:3", -signal.SIGKILL, "0\n1\n"),
        ("deliver.recorded:4", 0, "0\n1\n2\n"),
        ("deliver.answered", 0, "0\n1\n2\n"),
    ],
)
def test_a_process_ends_at_the_passing_that_was_said(
    text: str | None, status: int, output: str
) -> None:
    assert run(text) == (status, output)


def test_nothing_ends_a_process_in_which_none_is_armed() -> None:
    for point in CrashPoint:
        passed(point)


@pytest.mark.parametrize("text", ["deliver", "deliver.recorded:0", "deliver.recorded:x", ":1"])
def test_a_name_that_is_none_is_an_error_of_the_configuration(text: str) -> None:
    with pytest.raises(CrashPointError, match="LOBAR_CRASH_AT") as raised:
        arm(text)
    assert raised.value.exit_status == EX_CONFIG
