"""Run a server as a child process that ends with this one."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from service.supervision.supervisor import die_with_parent

START_SECONDS: Final = 60  # for a loaded machine; a server that cannot start exits at once
STOP_SECONDS: Final = 30


class StartError(Exception):
    """A required program is missing or does not start; the message says which."""


@contextmanager
def running(command: Sequence[str | Path], *, log: Path, answers_at: str) -> Iterator[None]:
    """Run a server within the `with` block, which begins when the server answers.

    Args:
        command: The program and its arguments.
        log: The file for its output.
        answers_at: The URL that must be answered with success.

    Raises:
        StartError: It exited, or did not answer in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 -- as in the supervisor
        )
    try:
        _wait_until_it_answers(process, answers_at, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_it_answers(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            httpx.get(address).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise StartError(f"It did not start; the log is {log}.")
