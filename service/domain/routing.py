"""Outcomes, kinds of output, and the routing of outputs to destinations."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class OutputKind(StrEnum):
    """The kinds of output that can be made for an instance."""

    SR = "sr"
    OVERLAY = "overlay"
    GSPS = "gsps"
    PDF = "pdf"


class Outcome(StrEnum):
    """The result for an instance: one of the findings, or not analysed."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"
    NOT_ANALYSED = "not_analysed"


@dataclass(frozen=True, slots=True)
class Routes:
    """The (kind of output, destination) pairs configured for each outcome."""

    by_outcome: Mapping[Outcome, tuple[tuple[OutputKind, str], ...]]
    has_destinations: bool = True  # False when no destination is configured at all

    def kinds(self, outcome: Outcome) -> frozenset[OutputKind]:
        """Return the kinds of output that any destination receives for an outcome."""
        return frozenset(kind for kind, _ in self.by_outcome[outcome])

    def deliveries(self, outcome: Outcome, made: Collection[str]) -> list[tuple[str, str]]:
        """List the (kind, destination) pairs to deliver, given the kinds that were made."""
        return [(kind, name) for kind, name in self.by_outcome[outcome] if kind in made]

    @property
    def destinations(self) -> frozenset[str]:
        """Names of all destinations that receive an output for any outcome."""
        return frozenset(name for pairs in self.by_outcome.values() for _, name in pairs)


NO_ROUTES: Final = Routes(dict.fromkeys(Outcome, ()), has_destinations=False)
