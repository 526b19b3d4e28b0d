"""The quality page."""

import re
import time
from collections.abc import Iterator

import pytest
from support.filled_ledger import MODELS, fill
from support.web_server import Web

from service.domain.user import Role
from service.storage.ledger.database import Database


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("quality") / "state").running() as web:
        database = Database(web.settings.ledger_url)
        fill(database, jobs=3000, verdicts=400, until=time.time())
        database.close()
        yield web


def test_an_empty_ledger_says_what_to_do(empty_web: Web) -> None:
    page = empty_web.client.get("/quality")
    assert page.status_code == 200
    for sentence in (
        "Nobody has given a verdict yet",
        "There is no result in this time",
        "Too few films to say",
        "No film was refused",
        "Nothing was received",
    ):
        assert sentence in page.text


def test_agreement_has_counts_an_interval_and_what_it_is_not(filled: Web) -> None:
    page = filled.client.get("/quality").text
    row = re.search(r'<th scope="row">All</th>(.*?)</tr>', page)
    assert row is not None
    agree, disagree, unsure = map(int, re.findall(r'"number">(\d+)<', row[1]))
    assert agree + disagree + unsure == 400
    assert f"{agree / (agree + disagree):.1%} (" in row[1]
    assert f"{agree} of {agree + disagree}" in row[1]
    assert "This is not the accuracy of the model" in page


def test_findings_are_plotted_with_a_band_and_a_table(filled: Web) -> None:
    page = filled.client.get("/quality", params={"weeks": 4}).text
    assert page.count('class="series series-1" points=') >= 3
    assert 'class="band" points=' in page
    table = re.search(r"Films by outcome.*?<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert table is not None
    numbers = [int(each) for each in re.findall(r'"number">(\d+)<', table[1])]
    assert len(numbers) == 4 * 5
    assert 0.9 * 3000 * 22 / 180 < sum(numbers) < 1.1 * 3000 * 28 / 180


def test_drift_is_an_index_with_the_numbers_of_films(filled: Web) -> None:
    page = filled.client.get("/quality").text
    found = re.findall(r"index is <b>([0-9.]+)</b>.*?([0-9,]+) films of this week", page)
    assert len(found) == 2
    assert all(float(index) < 1 for index, _ in found)
    assert all(100 < int(films) < 130 for _, films in found)


def test_the_selection_is_in_the_address_and_holds_for_every_figure(filled: Web) -> None:
    chosen = filled.client.get("/quality", params={"model": MODELS[0], "ae": "PACS"}).text
    assert f"<option selected>{MODELS[0]}</option>" in chosen
    assert "<option selected>PACS</option>" in chosen
    # the films of the last 13 weeks are of the other model
    assert "Nobody has given a verdict in this selection yet" in chosen
    by_day = filled.client.get("/quality", params={"by": "day", "weeks": 4}).text
    assert "findings by day" in by_day


def test_what_is_not_in_the_ledger_is_an_empty_selection_and_is_escaped(filled: Web) -> None:
    page = filled.client.get("/quality", params={"model": "<b>x</b>"})
    assert page.status_code == 200
    assert "<b>x</b>" not in page.text
    assert "There is no result in this time and selection" in page.text


@pytest.mark.parametrize(
    "query",
    [
        "weeks=0",
        "weeks=1000000",
        "weeks=x",
        "model=a%00b",
        "by=hour",
        f"ae={'A' * 17}",
        f"model={'m' * 129}",
    ],
)
def test_a_selection_that_cannot_be_is_refused_in_words(empty_web: Web, query: str) -> None:
    page = empty_web.client.get(f"/quality?{query}")
    assert page.status_code == 422
    assert "<h1>" in page.text


def test_every_role_sees_it_and_nobody_else_once_there_are_users(web: Web) -> None:
    for role in Role:
        assert web.sign_in(role).get("/quality").status_code == 200
    answer = web.client.get("/quality")
    assert answer.headers["location"].startswith("/sign-in")


def test_no_page_of_figures_names_a_patient_or_a_job(filled: Web) -> None:
    page = filled.client.get("/quality").text
    assert "/jobs/" not in page


def test_verdicts_are_offered_as_a_table_to_who_may_export(filled: Web) -> None:
    assert "/verdicts.csv" in filled.sign_in(Role.RADIOLOGIST).get("/quality").text
    assert "/verdicts.csv" not in filled.sign_in(Role.VIEWER).get("/quality").text


def test_the_legend_of_bars_has_squares(filled: Web) -> None:
    page = filled.sign_in(Role.VIEWER).get("/quality").text
    drift = page[page.index('<h2 id="drift">') :]
    legend = drift[drift.index('class="legend"') : drift.index("</ul>")]
    assert '<rect class="bar series-1"' in legend
    assert "<line" not in legend
