"""The Accept header, as clients send it and as they should not."""

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from service.web.dicomweb.media_types import accepted


def request(accept: str, query: bytes = b"") -> Request:
    headers = [(b"accept", accept.encode("latin-1"))]
    return Request({"type": "http", "headers": headers, "query_string": query})


@pytest.mark.parametrize(
    ("accept", "types"),
    [
        (";", []),
        (";q=1", []),
        ("a/b,;", ["a/b"]),
        ("a/b, , c/d", ["a/b", "c/d"]),
        ("a/b;q=0.5, c/d", ["c/d", "a/b"]),
        ("a/b;q=0", []),
        ("", ["*/*"]),
    ],
)
def test_members_without_a_type_are_passed_over(accept: str, types: list[str]) -> None:
    assert [each.media_type for each in accepted(request(accept))] == types


def test_the_query_counts_before_the_header() -> None:
    assert accepted(request("a/b", b"accept=;")) == []


@given(st.text(alphabet='a/b*,;="q.0 ', max_size=40))
def test_whatever_is_accepted_is_read(accept: str) -> None:
    assert all("/" in each.media_type or each.is_multipart for each in accepted(request(accept)))
