from datetime import date
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams
from starlette.requests import Request

from service.domain.job import JobState
from service.storage.ledger.reading.worklist import Order
from service.web.changes import is_by_itself
from service.web.pages.worklist_query import Finding, Judged, Period, WorklistQuery
from service.web.problem import Problem
from service.web.render import STATE_WORDS


def read(address: str) -> WorklistQuery:
    return WorklistQuery.of(QueryParams(urlsplit(address).query))


queries = st.builds(
    WorklistQuery,
    q=st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=40),
    state=st.lists(st.sampled_from(JobState), unique=True).map(tuple),
    finding=st.lists(st.sampled_from(Finding), unique=True).map(tuple),
    ae=st.text("ABC_ 1&=%", max_size=16).map(str.strip),
    period=st.none() | st.sampled_from(Period),
    first=st.none() | st.dates(date(1970, 1, 2), date(2100, 1, 1)),
    last=st.none() | st.dates(date(1970, 1, 2), date(2100, 1, 1)),
    verdict=st.none() | st.sampled_from(Judged),
    order=st.sampled_from(Order),
    after=st.just("") | st.just("0_1.5_" + "a" * 32),
)


@given(queries)
def test_an_address_is_read_as_what_it_was_made_of(query: WorklistQuery) -> None:
    assert read(query.address()) == query


@given(queries)
def test_each_chip_takes_its_condition_alone_away_and_begins_at_the_first_page(
    query: WorklistQuery,
) -> None:
    chips = list(query.chips(STATE_WORDS))
    for chip in chips:
        other = read(chip.without)
        assert len(list(other.chips(STATE_WORDS))) == len(chips) - 1
        assert other.after == ""
        assert other.order == query.order


@given(st.dictionaries(st.sampled_from("q state finding ae period first after".split()), st.text()))  # noqa: SIM905 -- reads as it is sent
def test_any_address_is_read_or_refused(params: dict[str, str]) -> None:
    try:
        query = WorklistQuery.of(QueryParams(params))
    except Problem as exc:
        assert exc.status == 422  # noqa: PT017 -- most of them are refused
    else:
        query.filter(with_patients=False)


@pytest.mark.parametrize(
    ("address", "period"),
    [
        ("/", Period.WEEK),
        ("/?finding=present", Period.WEEK),
        ("/?q=doe", Period.ALL),
        ("/?state=parked", Period.ALL),
        ("/?state=parked&period=24h", Period.DAY),
        ("/?first=2026-01-01", None),
    ],
)
def test_a_search_and_a_state_are_looked_for_in_all_time(
    address: str, period: Period | None
) -> None:
    assert read(address).shown_period == period


def test_days_are_whole_and_both_included() -> None:
    wanted = read("/?first=2026-01-31&last=2026-01-31").filter(with_patients=False)
    assert wanted.since is not None
    assert wanted.until is not None
    assert wanted.until - wanted.since == 86400


@pytest.mark.parametrize(
    ("path", "headers", "by_itself"),
    [
        ("/events", [], True),
        ("/status?by-itself=1", [], True),
        ("/", [(b"x-lobar-by-itself", b"true")], True),
        ("/", [(b"hx-request", b"true")], False),
        ("/", [], False),
    ],
)
def test_what_a_page_sends_by_itself_is_recognised(
    path: str, headers: list[tuple[bytes, bytes]], *, by_itself: bool
) -> None:
    path, _, query = path.partition("?")
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": headers,
        }
    )
    assert is_by_itself(request) is by_itself
