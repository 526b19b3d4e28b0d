"""One result of `lobar check`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one question found: well, worth knowing, or wrong with what to do about it."""

    subject: str
    message: str
    severity: int = 0  # 0 well, 1 worth knowing, 2 wrong
