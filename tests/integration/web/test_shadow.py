"""The page of the shadow model, and drift on the quality page."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.reported_job import receive
from support.routes import to
from support.web_server import Web

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord
from service.domain.monitoring.inputs import InputGroups
from service.domain.monitoring.shadow import Monitored, Reading
from service.domain.reasons import Reason
from service.domain.routing import Outcome
from service.domain.user import Role
from service.domain.verdict import Opinion
from service.web.quality.shadow import kappa

Table = dict[Outcome, dict[Outcome, int]]
REPORTED = Reading(model="own 1", operating_point="p", finding="present", probability=0.75)
SHADOW = Reading(model="candidate 2", operating_point="p", finding="present", probability=0.875)
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.75, operating_point="p", model="own 1"
)


def compare(web: Web, shadow: Reading) -> str:
    """Let an instance be reported as present, and the shadow model say something."""
    job_id = receive(web)
    (job,) = web.ledger.jobs.lease("t/", 1, lease_seconds=60, maximum_attempts=3)
    uid = f"2.25.{int(job_id[:8], 16)}"
    output = OutputRecord(kind="sr", sop_class_uid="1.2", sop_instance_uid=uid)
    groups = InputGroups(manufacturer="fuji", view="PA", tone="0.5 to 0.525")
    monitored = Monitored(drift_inputs=groups, reported=REPORTED)
    web.ledger.jobs.report(job, CONCLUSION, [output], to([]), monitored=monitored)
    (work,) = web.ledger.shadows.lease("t/", 1, lease_seconds=60)
    web.ledger.shadows.record([(work, shadow)])
    return job_id


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("shadow")
    with Web(folder / "state", shadow={"path": folder, "share": 0.5}).running() as running:
        yield running


@pytest.fixture(scope="module")
def changed(web: Web) -> str:
    """The id of the one job whose report would change, of four."""
    compare(web, SHADOW)
    compare(web, replace(SHADOW, probability=0.5))
    compare(web, SHADOW)
    refused = replace(SHADOW, finding=None, probability=None, reason=Reason.UNFAMILIAR)
    job_id = compare(web, refused)
    uid = f"2.25.{int(job_id[:8], 16)}"
    web.ledger.verdicts.record(job_id, report_uid=uid, user="ann", opinion=Opinion.AGREE)
    return job_id


def test_without_a_shadow_model_the_page_says_how_to_have_one(empty_web: Web) -> None:
    page = empty_web.client.get("/shadow")
    assert page.status_code == 200
    assert "No shadow model is configured" in page.text
    assert "shadow.path" in page.text


def test_agreement_differences_and_changes_are_shown(web: Web, changed: str) -> None:
    page = web.client.get("/shadow").text
    assert "candidate 2 beside own 1" in page
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "Both say the same of 75% (" in words
    assert "3 of 4" in words
    assert "Radiographs with both 3" in words
    assert "Largest 0.250" in words
    assert f'href="/jobs/{changed}"' in page
    assert page.count('class="id"') == 1
    assert "unlike-training-images" in words
    assert "own 1, reported 100% (" in words
    assert "candidate 2, shadow 0% (" in words
    assert "Share of the radiographs that it reads: 50 %" in words


def test_a_time_or_models_without_comparisons_are_an_empty_page(web: Web, changed: str) -> None:
    assert changed
    page = web.client.get("/shadow", params={"pair": 5})
    assert page.status_code == 200
    assert "Nothing was compared in this time yet" in page.text
    for wrong in ({"pair": -1}, {"weeks": 0}, {"weeks": "x"}):
        assert web.client.get("/shadow", params=wrong).status_code == 422


def test_the_quality_page_has_every_input_with_its_reference(web: Web, changed: str) -> None:
    assert changed
    page = web.client.get("/quality").text
    section = page[page.index('id="inputs"') :]
    for name in ("manufacturer", "view", "kvp", "exposure", "size", "tone", "probability"):
        assert f'<th scope="row">{name}</th>' in section
    assert "Too few films to say." in section
    assert "the bundle&#39;s reference: films of the training folds" in section
    assert "the eight weeks before" in section
    assert "lobar drift accept" in section


def test_a_person_who_may_not_view_sees_neither(tmp_path: Path) -> None:
    with Web(tmp_path / "state").running() as web:
        viewer = web.sign_in(Role.VIEWER)
        assert viewer.get("/shadow").status_code == 200
        assert web.client.get("/shadow").status_code in {303, 401}


def test_kappa_is_agreement_beyond_chance() -> None:
    def table(both: int, first: int, second: int, neither: int) -> Table:
        rows = {each: dict.fromkeys(Outcome, 0) for each in Outcome}
        rows[Outcome.PRESENT] |= {Outcome.PRESENT: both, Outcome.ABSENT: first}
        rows[Outcome.ABSENT] |= {Outcome.PRESENT: second, Outcome.ABSENT: neither}
        return rows

    assert kappa(table(20, 5, 10, 15)) == pytest.approx(0.4)
    assert kappa(table(10, 0, 0, 10)) == pytest.approx(1)
    assert kappa(table(9, 0, 0, 0)) is None
    assert kappa(table(0, 0, 0, 0)) is None


def test_the_page_is_of_the_present(web: Web, changed: str) -> None:
    assert changed
    (pair,) = web.ledger.comparisons.pairs(time.time() - 3600, time.time() + 1)
    assert pair.count == 4
