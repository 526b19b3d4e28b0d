"""Wildcards of a search, PS3.4 C.2.2.2.4."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.dicomweb.matching import matches_wildcards

LETTERS = st.text(alphabet="ab.", max_size=8)
PATTERNS = st.text(alphabet="ab.*?", max_size=8)


@given(LETTERS, PATTERNS)
def test_short_patterns_match_as_a_regular_expression_does(text: str, pattern: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    assert matches_wildcards(text, pattern) is (re.fullmatch(expression, text) is not None)


@pytest.mark.parametrize(
    ("end", "is_match"), [("x", False), ("a", True), ("*", True), ("*b", False), ("*a?", True)]
)
def test_a_hostile_pattern_ends(end: str, *, is_match: bool) -> None:
    """A regular expression of it would not end in a lifetime."""
    assert matches_wildcards("a" * 2000, "*?" * 500 + end) is is_match


@pytest.mark.parametrize("pattern", ["*a" * 300 + "b", "a*" * 500 + "b", "*" * 1000 + "b"])
def test_many_stars_before_what_is_not_there_do_not_match(pattern: str) -> None:
    assert not matches_wildcards("a" * 2000, pattern)
