"""What an instance may end as, which outputs exist, and which destination receives which."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class OutputKind(StrEnum):
    """What may be made about an instance."""

    SR = "sr"
    OVERLAY = "overlay"
    GSPS = "gsps"
    PDF = "pdf"


class Outcome(StrEnum):
    """How an instance ended: as one of the findings, or without one."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"
    NOT_ANALYSED = "not_analysed"


@dataclass(frozen=True, slots=True)
class Routes:
    """Which kinds of output each outcome owes to which destinations, by today's configuration."""

    by_outcome: Mapping[Outcome, tuple[tuple[OutputKind, str], ...]]
    anywhere: bool = True  # whether any destination is configured at all

    def kinds(self, outcome: Outcome) -> frozenset[OutputKind]:
        """Name the outputs that somebody wants."""
        return frozenset(kind for kind, _ in self.by_outcome[outcome])

    def owed(self, outcome: Outcome, made: Collection[str]) -> list[tuple[str, str]]:
        """List (kind, destination) for the outputs that were made."""
        return [(kind, name) for kind, name in self.by_outcome[outcome] if kind in made]

    @property
    def destinations(self) -> frozenset[str]:
        """Name every destination that is owed anything of any outcome."""
        owed: Iterable[tuple[OutputKind, str]] = (
            each for pairs in self.by_outcome.values() for each in pairs
        )
        return frozenset(name for _, name in owed)


NOWHERE: Final = Routes(dict.fromkeys(Outcome, ()), anywhere=False)
