"""Errors that a command prints in one line, with what to do about it, before it exits."""

from typing import ClassVar

EX_UNAVAILABLE = 69  # sysexits.h
EX_OSERR = 71
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class ExplainedError(Exception):
    """An error whose message is written for the user of the command; no traceback is printed."""

    exit_status: ClassVar[int] = 1
