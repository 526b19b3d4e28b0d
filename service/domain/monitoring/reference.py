"""Reference distributions: in which groups the films lie that a window is compared with."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from service.domain.monitoring.inputs import GROUPS, DriftInput

FORMAT: Final = 1
_WORDS: Final = 500  # characters of a sentence


class BadReferenceError(ValueError):
    """A reference cannot be used; the message says why."""


class ReferenceKind(StrEnum):
    """What a window of an input is compared with, in the order of precedence."""

    SITE = "site"  # films of this site, which a person accepted as the reference
    BUNDLE = "bundle"  # the films that the bundle's model was trained or chosen on
    BEFORE = "before"  # the films of the weeks before the window


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The distribution of one input in the films of a reference."""

    kind: ReferenceKind
    counts: Counter[str]  # films by group
    of: str = ""  # which films those are, in words
    since: float | None = None  # when they were received, where they are of this site
    until: float | None = None


def parse_reference(document: Any) -> dict[DriftInput, Reference]:  # noqa: ANN401 -- any JSON
    """Read the content of a bundle's configs/reference.json.

    Raises:
        BadReferenceError: it is not in this form, or names an input or group that does not exist.
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise BadReferenceError(f'it lacks "format": {FORMAT}')
    inputs = document.get("inputs")
    if not isinstance(inputs, Mapping):
        raise BadReferenceError('it lacks "inputs"')
    return {_input(name): _of_bundle(name, entry) for name, entry in inputs.items()}


def _input(name: object) -> DriftInput:
    try:
        return DriftInput(str(name))
    except ValueError:
        known = ", ".join(DriftInput)
        raise BadReferenceError(f"there is no input {str(name)[:40]!r}: only {known}") from None


def _of_bundle(name: str, entry: object) -> Reference:
    counts = entry.get("counts") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(counts, Mapping):
        raise BadReferenceError(f'the input {name} lacks "counts"')
    return Reference(
        kind=ReferenceKind.BUNDLE,
        counts=counted(DriftInput(name), counts),
        of=str(entry.get("of", ""))[:_WORDS],
    )


def counted(of: DriftInput, counts: Mapping[Any, Any]) -> Counter[str]:
    """Return the numbers of films by group.

    Raises:
        BadReferenceError: a group is none of this input, or a number is none of films.
    """
    for group, number in counts.items():
        if group not in GROUPS[of]:
            raise BadReferenceError(f"the input {of} has no group {str(group)[:40]!r}")
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise BadReferenceError(f"the input {of} has no number of films in {group!r}")
    return Counter({str(group): int(number) for group, number in counts.items()})
