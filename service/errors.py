"""Errors whose message tells a person, in one line, what to do: the command prints it and ends."""

from typing import ClassVar

EX_UNAVAILABLE = 69  # sysexits.h
EX_OSERR = 71
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class ExplainedError(Exception):
    """Its message is for whoever typed the command; a traceback would not help them."""

    exit_status: ClassVar[int] = 1
