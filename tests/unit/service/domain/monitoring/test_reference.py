"""The reference that a bundle brings."""

import copy
from typing import Any, Final

import pytest

from service.domain.monitoring.inputs import DriftInput
from service.domain.monitoring.reference import (
    BadReferenceError,
    ReferenceKind,
    parse_reference,
)

GOOD: Final[dict[str, Any]] = {
    "format": 1,
    "inputs": {"view": {"of": "films of a fold", "counts": {"AP": 300, "PA": 100}}},
    "not_known": {"kvp": "No header."},
}


def test_a_reference_has_the_films_by_group_and_which_films_those_are() -> None:
    parsed = parse_reference(GOOD)
    assert list(parsed) == [DriftInput.VIEW]
    view = parsed[DriftInput.VIEW]
    assert (view.kind, view.of) == (ReferenceKind.BUNDLE, "films of a fold")
    assert view.counts == {"AP": 300, "PA": 100}


def changed(path: str, value: object) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    *folders, last = path.split("/")
    inside = document
    for each in folders:
        inside = inside[each]
    inside[last] = value
    return document


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], '"format": 1'),
        (changed("format", 2), '"format": 1'),
        (changed("inputs", ["view"]), '"inputs"'),
        (changed("inputs/age", {"counts": {}}), "no input 'age'"),
        (changed("inputs/view", 7), 'the input view lacks "counts"'),
        (changed("inputs/view/counts", [1]), 'the input view lacks "counts"'),
        (changed("inputs/view/counts/Anna Example", 1), "no group 'Anna Example'"),
        (changed("inputs/view/counts/AP", -1), "no number of films in 'AP'"),
        (changed("inputs/view/counts/AP", 0.5), "no number of films in 'AP'"),
        (changed("inputs/view/counts/AP", value=True), "no number of films in 'AP'"),
    ],
)
def test_what_is_wrong_with_a_reference_is_said(document: object, words: str) -> None:
    with pytest.raises(BadReferenceError, match=words):
        parse_reference(document)
