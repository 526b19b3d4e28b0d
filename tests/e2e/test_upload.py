"""A clinician without a PACS: a ZIP goes in, and the findings come back on the page."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from support.lobar_process import LobarService, wait_for
from support.system.http import HTTP
from synthetic.archives import zipped

from service.domain.job import Job, JobState
from service.domain.reasons import Reason

pytestmark = pytest.mark.slow
ROOT: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = sorted((ROOT / "service" / "demo" / "samples").glob("*.dcm"))


@pytest.fixture
def service(lobar_service: Callable[..., LobarService]) -> LobarService:
    return lobar_service([])


def page_of_results(service: LobarService) -> httpx.URL:
    files = {f"STUDY/{each.name}": each.read_bytes() for each in SAMPLES}
    archive = zipped({**files, "STUDY/readme.txt": b"exported by a viewer"})
    answer = HTTP.post(f"{service.url}/upload", files={"files": ("study.zip", archive)})
    assert answer.status_code == 303
    return answer.url.join(answer.headers["location"])


def final(url: httpx.URL) -> Iterator[str]:
    while True:
        page = HTTP.get(url).raise_for_status().text
        yield "" if 'data-final="false"' in page else page


def test_a_zip_is_read_without_a_destination_and_its_jobs_can_be_dismissed(
    service: LobarService,
) -> None:
    pages = final(page_of_results(service))
    page = wait_for(lambda: next(pages))
    jobs: list[Job] = service.all_jobs()
    assert len(jobs) == len(SAMPLES)
    assert {(job.state, job.reason) for job in jobs} == {(JobState.PARKED, Reason.NO_DESTINATION)}
    for job in jobs:
        assert f"probability {job.probability:.3f}" in page
    assert page.count("No PACS is configured to send the report to") == len(SAMPLES)
    assert "tone-alarm" in page  # of the text file alone
    assert len(re.findall("tone-alarm", page)) == 1
    status = HTTP.get(f"{service.url}/status").raise_for_status().text
    assert f"{len(SAMPLES)} parked: No destination is configured" in status
    assert jobs[0].model is not None
    assert jobs[0].model in status
    form = {"reason_code": "no-destination", "reason": "read on the page"}
    assert HTTP.post(f"{service.url}/status/dismiss", data=form).status_code == 303
    assert {job.state for job in service.all_jobs()} == {JobState.DISMISSED}
    assert service.balance() == 0
    status = HTTP.get(f"{service.url}/status").raise_for_status().text
    assert "every part is ready" in status
