"""Routes for tests: every outcome and every kind of output to each of some destinations."""

from collections.abc import Iterable

from service.domain.routing import NOWHERE, Outcome, OutputKind, Routes


def to(destinations: Iterable[str]) -> Routes:
    """Give routes that owe everything to these; to none, as if none were configured."""
    names = list(destinations)
    if not names:
        return NOWHERE
    pairs = tuple((kind, name) for name in names for kind in OutputKind)
    return Routes(dict.fromkeys(Outcome, pairs))
