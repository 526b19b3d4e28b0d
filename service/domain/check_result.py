"""One result of `lobar check`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of one check; the message of a warning or error says what to do."""

    subject: str
    message: str
    severity: int = 0  # 0 ok, 1 warning, 2 error
