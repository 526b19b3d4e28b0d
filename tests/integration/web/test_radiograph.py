"""The pictures of a job: who may see them, what they are, and what is said where there is none."""

import gzip
import io
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from support.purged import purge_finished
from support.routes import to
from support.web_server import Web
from synthetic.objects import make_cr, make_sc
from synthetic.part10 import part10

from service.decoding.answer import Answer
from service.domain.audit import Action
from service.domain.delivery import OutputRecord
from service.domain.evidence import AttentionMap, Evidence, Region
from service.domain.job import ConclusionRecord, Instance
from service.domain.reasons import Reason
from service.domain.user import Role
from service.web.pages.radiograph import DESCRIPTION_HEADER, viewer_values

OVERLAY: Final = OutputRecord(
    kind="overlay", sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid="2.25.88"
)
CONCLUSION: Final = ConclusionRecord(
    finding="present", probability=0.9, operating_point="balanced", model="pneumonia 1.2"
)
ROUTES: Final = ("radiograph", "radiograph.png", "radiograph.json", "overlay.png")
SEEN: Final = Evidence(
    region=Region(top=0.5, left=0.25, bottom=0.75, right=0.5),
    attention=AttentionMap(rows=1, columns=2, values=(0.25, 0.5)),
)


def received(web: Web, content: Dataset | bytes) -> str:
    """Put an instance into spool and ledger as the listener would; its bytes may be anything."""
    job_id, uid = uuid.uuid4().hex, f"2.25.{uuid.uuid4().int}"
    arrived = web.spool.incoming / job_id
    arrived.write_bytes(content if isinstance(content, bytes) else part10(content))
    web.spool.accept(job_id, arrived)
    web.ledger.jobs.receive(
        Instance(
            job_id=job_id,
            sop_instance_uid=uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
            series_instance_uid=uid,
            study_instance_uid=uid,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            digest="0" * 64,
            size_bytes=10,
            calling_ae_title="MODALITY",
        )
    )
    return job_id


def reported(web: Web, content: Dataset, overlay: Dataset) -> str:
    """Put an instance there with an overlay and the evidence of its analysis."""
    job_id = received(web, content)
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    web.spool.put_output(job_id, "overlay", OVERLAY.sop_instance_uid, part10(overlay))
    web.ledger.jobs.report(job, CONCLUSION, [OVERLAY], to(["pacs"]), evidence=SEEN)
    return job_id


def pixels(response: httpx.Response) -> NDArray[np.uint8]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)))


def looks(web: Web, job_id: str) -> list[Any]:
    with web.ledger._database.read() as connection:
        rows = connection.exec_driver_sql("SELECT user_name, action, job_id, detail FROM audit")
        return [
            (row.user_name, json.loads(row.detail).get("picture"))
            for row in rows
            if row.action == Action.VIEW and row.job_id == job_id
        ]


def test_a_viewer_gets_the_radiograph_and_the_overlay_exactly_as_sent(web: Web) -> None:
    viewer = web.sign_in(Role.VIEWER)
    instance, overlay = make_sc(), make_sc(photometric="RGB", rows=70, columns=90)
    job_id = reported(web, instance, overlay)
    picture = viewer.get(f"/jobs/{job_id}/radiograph.png?width=4096")
    assert np.array_equal(pixels(picture), instance.pixel_array)
    sent = viewer.get(f"/jobs/{job_id}/overlay.png")
    assert np.array_equal(pixels(sent), overlay.pixel_array)
    for response in (picture, sent):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
    assert pixels(viewer.get(f"/jobs/{job_id}/radiograph.png?width=80")).shape == (96, 80)


def test_a_viewer_gets_the_samples_with_their_description(web: Web) -> None:
    viewer = web.sign_in(Role.VIEWER)
    instance = make_cr(photometric="MONOCHROME1")
    job_id = received(web, instance)
    plain = viewer.get(f"/jobs/{job_id}/radiograph", headers={"accept-encoding": "identity"})
    assert plain.headers["content-type"] == "application/octet-stream"
    assert "content-encoding" not in plain.headers
    description = json.loads(plain.headers[DESCRIPTION_HEADER])
    samples = np.frombuffer(plain.content, "<u2").reshape(
        description["rows"], description["columns"]
    )
    values = samples * description["slope"] + description["intercept"]
    assert np.array_equal(values, instance.pixel_array)
    assert description["inverted"]
    assert viewer.get(f"/jobs/{job_id}/radiograph.json").json() == description
    with viewer.stream(
        "GET", f"/jobs/{job_id}/radiograph", headers={"accept-encoding": "br, gzip;q=0.5"}
    ) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(packed.iter_raw())) == plain.content
    refused = viewer.get(f"/jobs/{job_id}/radiograph", headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers


@pytest.mark.parametrize("route", ROUTES)
def test_nobody_else_gets_any_of_it(web: Web, route: str) -> None:
    job_id = reported(web, make_cr(), make_sc(photometric="RGB"))
    assert web.client.get(f"/jobs/{job_id}/{route}").status_code == 403, "while there is no user"
    operator = web.sign_in(Role.OPERATOR)
    assert operator.get(f"/jobs/{job_id}/{route}").status_code == 403
    assert web.client.get(f"/jobs/{job_id}/{route}").status_code == 303
    assert looks(web, job_id) == []


def test_a_look_is_recorded_once_for_each_person_and_picture(web: Web) -> None:
    job_id = reported(web, make_cr(), make_sc(photometric="RGB"))
    one, other = web.sign_in(Role.VIEWER), web.sign_in(Role.ADMIN)
    for route in (*ROUTES, *ROUTES):
        assert one.get(f"/jobs/{job_id}/{route}").status_code == 200
    assert looks(web, job_id) == [("viewer", "radiograph"), ("viewer", "overlay")]
    other.get(f"/jobs/{job_id}/radiograph.png")
    assert looks(web, job_id)[2:] == [("admin", "radiograph")]


def test_a_look_that_cannot_be_recorded_shows_nothing(web: Web) -> None:
    viewer = web.sign_in(Role.VIEWER)
    job_id = received(web, make_cr())
    with web.ledger._database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO elsewhere")
    response = viewer.get(f"/jobs/{job_id}/radiograph.png")
    assert response.status_code == 503
    assert "PNG" not in response.text


@pytest.mark.parametrize(
    "job_id",
    [
        "0" * 32,
        "..%2f..%2finbox",
        "A" * 32,
        "0" * 31,
        "%00" * 8,
        "0" * 32 + "%0a",
    ],
)
def test_an_id_of_no_job_is_a_page_that_says_so(web: Web, job_id: str) -> None:
    viewer = web.sign_in(Role.VIEWER)
    for route in ROUTES:
        response = viewer.get(f"/jobs/{job_id}/{route}")
        assert response.status_code == 404, route


@pytest.mark.parametrize("width", ["0", "63", "4097", "-1", "1e9", "a", "", "9" * 400])
def test_a_width_out_of_bounds_is_refused(web: Web, width: str) -> None:
    viewer = web.sign_in(Role.VIEWER)
    job_id = received(web, make_cr())
    response = viewer.get(f"/jobs/{job_id}/radiograph.png", params={"width": width})
    assert response.status_code == 422
    assert "width" in response.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0" * 300, Reason.UNDECODABLE),
        (make_cr(), Reason.MULTI_FRAME),
        (make_sc(), Reason.NO_PIXELS),
    ],
)
def test_pixels_that_cannot_be_shown_are_a_problem_with_the_coded_reason(
    web: Web, content: Dataset | bytes, reason: Reason
) -> None:
    viewer = web.sign_in(Role.VIEWER)
    if reason is Reason.MULTI_FRAME:
        assert isinstance(content, Dataset)
        content.NumberOfFrames = 3
    if reason is Reason.NO_PIXELS:
        assert isinstance(content, Dataset)
        del content.PixelData
    job_id = received(web, content)
    for route in ROUTES[:3]:
        response = viewer.get(
            f"/jobs/{job_id}/{route}", headers={"accept": "application/problem+json"}
        )
        assert response.status_code == 422
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["reason"] == reason
    page = viewer.get(f"/jobs/{job_id}/radiograph.png")
    assert page.headers["content-type"].startswith("text/html")
    assert "Traceback" not in page.text
    assert looks(web, job_id) == []


def test_bytes_that_retention_removed_are_gone(web: Web) -> None:
    viewer = web.sign_in(Role.VIEWER)
    job_id = reported(web, make_cr(), make_sc(photometric="RGB"))
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.delivered(delivery, status=0)
    web.spool.discard(job_id)
    assert purge_finished(web.ledger) == [job_id]
    for route in ROUTES:
        response = viewer.get(f"/jobs/{job_id}/{route}")
        assert response.status_code == 410
        assert "Retention removed" in response.text
    job = web.ledger.queries.job(job_id)
    assert job is not None
    values = viewer_values(web.ledger, job)["viewer"]
    assert (values["has_bytes"], values["has_overlay"]) == (False, False)


def test_bytes_that_are_lost_are_gone_and_said_to_be(web: Web) -> None:
    viewer = web.sign_in(Role.VIEWER)
    job_id = received(web, make_cr())
    web.spool.inbox(job_id).unlink()
    response = viewer.get(
        f"/jobs/{job_id}/radiograph", headers={"accept": "application/problem+json"}
    )
    assert (response.status_code, response.json()["reason"]) == (410, Reason.BYTES_MISSING)


def test_a_job_without_an_overlay_says_so(web: Web) -> None:
    viewer = web.sign_in(Role.VIEWER)
    job_id = received(web, make_cr())
    response = viewer.get(f"/jobs/{job_id}/overlay.png")
    assert response.status_code == 404
    assert "No overlay was made" in response.text


def test_the_viewer_gets_region_and_map_of_the_latest_analysis(web: Web) -> None:
    job_id = reported(web, make_cr(), make_sc(photometric="RGB"))
    job = web.ledger.queries.job(job_id)
    assert job is not None
    values = viewer_values(web.ledger, job)
    assert values["evidence"] == SEEN
    assert json.loads(values["viewer"]["evidence"]) == {
        "region": {"top": 0.5, "left": 0.25, "bottom": 0.75, "right": 0.5},
        "attention": {"rows": 1, "columns": 2, "values": [0.25, 0.5]},
    }
    assert values["viewer"]["has_bytes"]
    assert values["viewer"]["has_overlay"]
    bare = web.ledger.queries.job(received(web, make_cr()))
    assert bare is not None
    values = viewer_values(web.ledger, bare)
    assert values["evidence"] is None
    assert not values["viewer"]["has_overlay"]


class Sleeper:
    """A double of the decoders that never answers in time."""

    def prepare(self) -> None:
        """Need nothing."""

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        del request
        time.sleep(60)
        return Answer()


@pytest.fixture
def slow_web(tmp_path: Path) -> Iterator[Web]:
    limits = {"quick_seconds": 0.2, "seconds": 0.4}
    with Web(tmp_path / "state", decoding=limits).running(Sleeper()) as running:
        yield running


def test_a_decoder_that_takes_too_long_is_ended_and_others_are_told_to_come_back(
    slow_web: Web,
) -> None:
    viewer = slow_web.sign_in(Role.VIEWER)
    job_id = received(slow_web, make_cr())
    accept = {"accept": "application/problem+json"}
    response = viewer.get(f"/jobs/{job_id}/radiograph", headers=accept)
    assert (response.status_code, response.json()["reason"]) == (422, Reason.DECODER_TIMEOUT)
    with ThreadPoolExecutor(8) as people:
        asked = [
            people.submit(viewer.get, f"/jobs/{job_id}/radiograph", headers=accept)
            for _ in range(8)
        ]
        answers = [each.result() for each in asked]
    busy = [each for each in answers if each.status_code == 503]
    assert busy
    assert {each.status_code for each in answers} <= {422, 503}
    assert all(int(each.headers["retry-after"]) > 0 for each in busy)
