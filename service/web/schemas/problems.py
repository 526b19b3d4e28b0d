"""An error as the API shows it."""

from dataclasses import dataclass, field
from typing import Self

from service.domain.reasons import Reason
from service.web.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultResponse:
    """One fault of a request: of its body (`pointer`) or of a parameter (`parameter`)."""

    detail: str
    pointer: str | None = None  # RFC 6901, in the body
    parameter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemResponse:
    """An error, as RFC 9457 has it (`application/problem+json`)."""

    type: str
    title: str
    status: int
    detail: str  # one sentence for a person
    reason: Reason | None = None  # where an instance was refused
    errors: list[FaultResponse] = field(default_factory=list)  # where the request is not valid

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Build the response for a problem."""
        return cls(
            type="about:blank",
            title=problem.status.phrase,
            status=int(problem.status),
            detail=problem.detail,
            reason=problem.reason,
        )
