"""Routes for tests: all outputs of every outcome to each destination."""

from collections.abc import Iterable

from service.domain.routing import NO_ROUTES, Outcome, OutputKind, Routes


def to(destinations: Iterable[str]) -> Routes:
    """Return routes to these destinations; without any, those of an empty configuration."""
    names = list(destinations)
    if not names:
        return NO_ROUTES
    pairs = tuple((kind, name) for name in names for kind in OutputKind)
    return Routes(dict.fromkeys(Outcome, pairs))
