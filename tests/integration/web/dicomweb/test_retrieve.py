import asyncio
import json
from email import message_from_bytes, policy
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)
from support.purged import purge_finished
from support.study import KeptStudy, keep_study, receive
from support.web_server import Web
from synthetic.objects import make_cr
from synthetic.part10 import part10
from synthetic.report_sources import NAMES, values
from synthetic.report_sources import part10 as encoded

from service.domain.audit import Action
from service.domain.routing import OutputKind
from service.domain.user import Role
from service.web.dicomweb.holdings import MOST_RECEIVED
from service.web.dicomweb.related import related, single, whole_file
from service.web.dicomweb.threads import FewThreads
from service.web.problem import Problem

ANY_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ANY_FRAME = "multipart/related; type=application/octet-stream; transfer-syntax=*"


@pytest.fixture(scope="module")
def reader(quiet_web: Web) -> httpx.Client:
    return quiet_web.sign_in(Role.VIEWER)


def parts_of(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Return content type and body of each part."""
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + answer.content, policy=policy.HTTP)
    return [
        (str(part["content-type"]).replace('"', ""), cast("bytes", part.get_payload(decode=True)))
        for part in message.iter_parts()
    ]


def get(client: httpx.Client, path: str, accept: str) -> httpx.Response:
    return client.get(path, headers={"accept": accept})


def test_a_study_is_retrieved_byte_for_byte(reader: httpx.Client, study: KeptStudy) -> None:
    parts = parts_of(get(reader, study.path, ANY_DICOM))
    assert len(parts) == 5
    assert study.file in [body for _, body in parts]
    uids = {dcmread(BytesIO(body)).SOPInstanceUID for _, body in parts}
    assert uids == {each.SOPInstanceUID for each in (study.source, *study.outputs.values())}
    assert {kind for kind, _ in parts} == {
        f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    }


def test_series_and_instances_are_retrieved_alone(reader: httpx.Client, study: KeptStudy) -> None:
    series = f"{study.path}/series/{study.source.SeriesInstanceUID}"
    for path in (series, study.path_of(study.source)):
        ((_, body),) = parts_of(get(reader, path, ANY_DICOM))
        assert body == study.file
    alone = get(reader, study.path_of(study.source), "application/dicom")
    assert alone.headers["content-type"].startswith("application/dicom;")
    assert alone.content == study.file


def test_metadata_is_what_pydicom_reads(reader: httpx.Client, study: KeptStudy) -> None:
    """The one document differs: it is named by an address instead of being sent along."""
    told = {
        each["00080018"]["Value"][0]: each for each in reader.get(f"{study.path}/metadata").json()
    }
    assert len(told) == 5
    for dataset in (study.source, *study.outputs.values()):
        mine, theirs = told[dataset.SOPInstanceUID], _as_pydicom(dataset)
        assert mine.pop("00083002")["Value"] == [ExplicitVRLittleEndian]
        document = mine.pop("00420011", None)
        theirs.pop("00420011", None)
        assert mine == theirs
        assert (document is not None) is (dataset is study.outputs[OutputKind.PDF])


def _as_pydicom(dataset: Dataset) -> dict[str, Any]:
    read = dcmread(BytesIO(part10(dataset)), stop_before_pixels=True)
    del read[0x00080005]
    told = json.loads(read.to_json(bulk_data_threshold=1 << 30))
    return dict(sorted({**told, "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}.items()))


def test_a_document_is_retrieved_by_the_address_in_its_metadata(
    reader: httpx.Client, study: KeptStudy
) -> None:
    page = study.outputs[OutputKind.PDF]
    (told,) = reader.get(f"{study.path_of(page)}/metadata").json()
    answer = get(reader, told["00420011"]["BulkDataURI"], "*/*")
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content == page.EncapsulatedDocument
    related = get(reader, told["00420011"]["BulkDataURI"], ANY_FRAME)
    assert [body for _, body in parts_of(related)] == [page.EncapsulatedDocument]
    image = f"{study.path_of(study.source)}/bulkdata/00420011"
    assert reader.get(image).status_code == 404


@pytest.mark.parametrize(
    ("syntax", "media_type"),
    [
        (ExplicitVRLittleEndian, "application/octet-stream"),
        (ImplicitVRLittleEndian, "application/octet-stream"),
        (JPEG2000Lossless, "image/jp2"),
        (JPEGLosslessSV1, "image/jpeg"),
        (RLELossless, "image/dicom-rle"),
    ],
)
def test_the_frame_is_sent_as_it_is_stored(web: Web, syntax: str, media_type: str) -> None:
    source = make_cr()
    kept = keep_study(web, source, syntax)
    viewer = web.sign_in(Role.VIEWER)
    path = f"{kept.path_of(source)}/frames/1"
    ((stated, body),) = parts_of(get(viewer, path, ANY_FRAME))
    expected = ExplicitVRLittleEndian if "octet" in media_type else syntax
    assert stated == f"application/octet-stream; transfer-syntax={expected}"
    again = dcmread(BytesIO(kept.file))
    if "octet" in media_type:
        assert body == again.PixelData
    else:
        assert body in again.PixelData
        ((image, _),) = parts_of(get(viewer, path, f'multipart/related; type="{media_type}"'))
        assert image == f"{media_type}; transfer-syntax={syntax}"
        plain = get(viewer, path, 'multipart/related; type="application/octet-stream"')
        assert plain.status_code == 406
        assert syntax in plain.json()["detail"]
    assert np.array_equal(again.pixel_array, source.pixel_array)
    record, *_ = web.ledger.audit.recent()
    assert (record.action, record.job_id) == (Action.VIEW, kept.job_id)


def test_a_file_is_sent_only_in_a_transfer_syntax_that_is_taken(web: Web) -> None:
    source = make_cr()
    kept = keep_study(web, source, JPEG2000Lossless)
    viewer = web.sign_in(Role.VIEWER)
    path = kept.path_of(source)
    explicit = get(viewer, path, 'multipart/related; type="application/dicom"')
    assert explicit.status_code == 406
    assert "transfer-syntax=*" in explicit.json()["detail"]
    exact = f'multipart/related; type="application/dicom"; transfer-syntax={JPEG2000Lossless}'
    for accept in (exact, ANY_DICOM, "*/*", f"image/png, {exact};q=0.1"):
        assert parts_of(get(viewer, path, accept))[0][1] == kept.file
    assert get(viewer, path, "image/png").status_code == 406


def test_a_deflated_instance_is_sent_as_it_is_and_has_metadata_but_no_frame(web: Web) -> None:
    source = make_cr(rows=64, columns=48)
    kept = keep_study(web, source, DeflatedExplicitVRLittleEndian)
    viewer = web.sign_in(Role.VIEWER)
    path = kept.path_of(source)
    assert parts_of(get(viewer, path, ANY_DICOM))[0][1] == kept.file
    (told,) = viewer.get(f"{path}/metadata").json()
    assert told["00280010"]["Value"] == [64]
    assert viewer.get(f"{path}/frames/1").status_code == 404


@pytest.mark.parametrize("uid", ["1.2.3", "%2e%2e%2fx", "1.2.3%00", "1" * 5000, "x", "1..2"])
@pytest.mark.parametrize("rest", ["", "/metadata", "/series", "/instances"])
def test_what_lobar_does_not_hold_is_not_found(
    reader: httpx.Client, study: KeptStudy, uid: str, rest: str
) -> None:
    answer = reader.get(f"/dicom-web/studies/{uid}{rest}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    below = reader.get(f"{study.path}/series/{uid}/instances/{uid}")
    assert below.status_code == 404


@pytest.mark.parametrize("frame", ["0", "2", "1,2", "-1", "x", "%00", "9" * 1000])
def test_only_the_first_frame_is_there(reader: httpx.Client, study: KeptStudy, frame: str) -> None:
    assert reader.get(f"{study.path_of(study.source)}/frames/{frame}").status_code == 404
    report = study.outputs[OutputKind.SR]
    assert reader.get(f"{study.path_of(report)}/frames/1").status_code == 404


def test_what_retention_removed_is_gone(web: Web) -> None:
    source = make_cr(rows=64, columns=48)
    kept = keep_study(web, source)
    for each in web.ledger.deliveries.lease("pacs", "test/", 9, lease_seconds=60):
        web.ledger.deliveries.delivered(each, status=0)
    web.spool.discard(kept.job_id)
    assert purge_finished(web.ledger) == [kept.job_id]
    viewer = web.sign_in(Role.VIEWER)
    for rest in ("", "/metadata", "/series"):
        answer = viewer.get(f"{kept.path}{rest}")
        assert answer.status_code == 410
        assert "keep_days" in answer.json()["detail"]
    assert viewer.get("/dicom-web/studies").json() == []


def test_only_who_may_see_patients_retrieves(web: Web) -> None:
    kept = keep_study(web, make_cr(rows=64, columns=48))
    path = kept.path_of(kept.source)
    operator = web.sign_in(Role.OPERATOR)
    for rest in ("", "/metadata", "/frames/1", "/bulkdata/00420011"):
        assert operator.get(path + rest).status_code == 403
        assert web.client.get(path + rest).status_code == 401


def test_what_is_retrieved_is_recorded_with_each_job_that_it_is_of(web: Web) -> None:
    first = keep_study(web, make_cr(rows=64, columns=48))
    source = make_cr(rows=64, columns=48)
    source.StudyInstanceUID = first.source.StudyInstanceUID
    second = keep_study(web, source)
    viewer = web.sign_in(Role.VIEWER)
    for path, accept, action in (
        (first.path, ANY_DICOM, Action.DOWNLOAD),
        (f"{first.path}/metadata", "*/*", Action.VIEW),
    ):
        assert get(viewer, path, accept).status_code == 200
        records = web.ledger.audit.recent(2)
        assert {each.job_id for each in records} == {first.job_id, second.job_id}
        assert {each.action for each in records} == {action}
        assert [each.detail["instances"] for each in records] == [5, 5]
    assert get(viewer, second.path_of(source), ANY_DICOM).status_code == 200
    one, before = web.ledger.audit.recent(2)
    assert (one.job_id, one.detail["instances"]) == (second.job_id, 1)
    assert before.action is Action.VIEW


def test_of_a_study_with_very_many_instances_each_is_there_alone(web: Web) -> None:
    source = make_cr(rows=8, columns=8)
    for _ in range(MOST_RECEIVED + 1):
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        file = part10(source)
        receive(web, file)
    viewer = web.sign_in(Role.VIEWER)
    path = f"/dicom-web/studies/{source.StudyInstanceUID}"
    for rest in ("", "/metadata"):
        answer = get(viewer, path + rest, "*/*")
        assert answer.status_code == 413
        assert "by its own address" in answer.json()["detail"]
    series = f"{path}/series/{source.SeriesInstanceUID}"
    alone = get(viewer, f"{series}/instances/{source.SOPInstanceUID}", "*/*")
    assert [body for _, body in parts_of(alone)] == [file]
    for search in ("/dicom-web/studies", f"{series}/instances"):
        found = viewer.get(search, params={"limit": 500})
        assert f"more than {MOST_RECEIVED} received instances" in found.headers["warning"]
    assert len(found.json()) == MOST_RECEIVED


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"PatientName": b"x" * 60_000},
        {"StudyDate": b"\xff\xfe not a date"},
        {"ImagerPixelSpacing": b"1.1\\wide"},
        {"StudyID": b"\0" * 400},
    ],
    ids=["plain", "a long name", "a date that is none", "a number that is none", "a text of NULs"],
)
def test_an_odd_header_is_told_as_far_as_it_can_be(
    quiet_web: Web, reader: httpx.Client, names: str, changes: dict[str, bytes]
) -> None:
    uid = generate_uid().encode()
    uids = {"StudyInstanceUID": uid, "SOPInstanceUID": uid}
    receive(quiet_web, encoded({**values(names=names), **uids, **changes}))
    query = {"StudyInstanceUID": uid.decode(), "includefield": "all"}
    (found,) = reader.get("/dicom-web/studies", params=query).json()
    (told,) = reader.get(f"/dicom-web/studies/{uid.decode()}/metadata").json()
    assert told["0020000D"]["Value"] == [uid.decode()]
    assert told["00080050"] == found["00080050"] == {"vr": "SH", "Value": ["A-4711"]}
    assert told["00280010"]["Value"] == [2500]
    assert ("00181164" in told) is ("ImagerPixelSpacing" not in changes)
    if names in {"Latin", "Cyrillic", "Japanese"} and "PatientName" not in changes:
        assert told["00100010"]["Value"] == found["00100010"]["Value"]
        expected = {"Latin": "Müller^Jörg", "Cyrillic": "Иванова^Анна", "Japanese": "Yamada^Tarou"}
        assert told["00100010"]["Value"][0]["Alphabetic"] == expected[names]


def deep(levels: int) -> Dataset:
    inner = Dataset()
    for _ in range(levels):
        outer = Dataset()
        outer.ReferencedStudySequence = [inner]
        inner = outer
    return inner


@pytest.mark.parametrize("kind", ["deep", "many elements", "large"])
def test_a_header_larger_than_any_radiograph_s_is_told_by_what_the_ledger_knows(
    web: Web, kind: str
) -> None:
    source = make_cr(rows=8, columns=8)
    if kind == "deep":
        source.update(deep(100))
    elif kind == "large":
        for number in range(30):
            source.add_new(0x00091100 + number, "UN", b"\0" * 200_000)
    else:
        for number in range(25_000):
            source.add_new(
                0x00110000 + (number >> 8 << 16 << 1) + 0x1000 + (number & 0xFF), "UN", b""
            )
    file = part10(source)
    assert len(file) < 8 << 20
    receive(web, file)
    viewer = web.sign_in(Role.VIEWER)
    (told,) = viewer.get(f"/dicom-web/studies/{source.StudyInstanceUID}/metadata").json()
    assert set(told) == {"00080016", "00080018", "0020000D", "0020000E"}
    path = f"/dicom-web/studies/{source.StudyInstanceUID}"
    path = f"{path}/series/{source.SeriesInstanceUID}/instances/{source.SOPInstanceUID}"
    assert viewer.get(f"{path}/frames/1").status_code == 422
    assert parts_of(get(viewer, path, ANY_DICOM))[0][1] == file


def test_what_retention_removes_while_it_is_looked_for_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "instance.dcm"
    file.write_bytes(b"instance")
    part, threads = whole_file(file, "application/dicom"), FewThreads()
    begun = single(part, threads)
    file.unlink()
    for send in (
        lambda: whole_file(file, "application/dicom"),
        lambda: single(part, threads),
        lambda: related([part], "application/dicom", threads),
    ):
        with pytest.raises(Problem) as raised:
            send()
        assert raised.value.status == 410

    async def body() -> bytes:
        return b"".join([cast("bytes", piece) async for piece in begun.body_iterator])

    assert asyncio.run(body()) == b"instance", "a response that has begun is sent to its end"
