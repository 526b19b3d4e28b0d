import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, generate_uid
from support.lobar_process import wait_for
from support.system.ports import LOOPBACK
from support.web_server import Web, picture
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.domain.audit import Action, AuditOutcome
from service.domain.job import Source
from service.domain.user import Role

STUDIES = "/dicom-web/studies"
BOUNDARY = "cut"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def body(*instances: bytes, content_type: str = "application/dicom") -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n".encode()
    parts = b"".join(head + instance + b"\r\n" for instance in instances)
    return parts + f"--{BOUNDARY}--\r\n".encode()


def store(
    web: Web, content: bytes | Iterator[bytes], path: str = STUDIES, **headers: str
) -> httpx.Response:
    headers = {"content-type": RELATED, "accept": "application/dicom+json", **headers}
    return web.client.post(path, content=content, headers=headers)


def items(answer: httpx.Response, tag: str) -> list[dict[str, Any]]:
    return list(answer.json().get(tag, {}).get("Value", []))


def reasons(answer: httpx.Response) -> list[int]:
    failed = items(answer, "00081198") + items(answer, "0008119A")
    return [each["00081197"]["Value"][0] for each in failed]


def test_instances_are_stored_and_named_in_the_response(web: Web) -> None:
    one, two = make_cr(rows=8, columns=8), make_cr(rows=8, columns=8)
    two.StudyInstanceUID = one.StudyInstanceUID
    answer = store(web, body(part10(one), part10(two)))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    stored = [each["00081155"]["Value"][0] for each in items(answer, "00081199")]
    assert stored == [one.SOPInstanceUID, two.SOPInstanceUID]
    (url,) = answer.json()["00081190"]["Value"]
    assert url.endswith(f"{STUDIES}/{one.StudyInstanceUID}")
    jobs = web.ledger.queries.recent()
    assert {job.sop_instance_uid for job in jobs} == set(stored)
    assert {job.source for job in jobs} == {Source.UPLOAD}
    assert (web.notifications, web.left_in_incoming()) == (2, [])
    record, *_ = web.ledger.audit.recent()
    assert (record.action, record.detail["stored"]) == (Action.UPLOAD, 2)
    assert record.study_instance_uid == one.StudyInstanceUID
    assert store(web, body(part10(one))).status_code == 200
    assert len(web.ledger.queries.recent()) == 2


def test_an_instance_of_another_study_than_the_address_names_fails(web: Web) -> None:
    one, two = make_cr(rows=8, columns=8), make_cr(rows=8, columns=8)
    path = f"{STUDIES}/{one.StudyInstanceUID}"
    answer = store(web, body(part10(one), part10(two)), path)
    assert (answer.status_code, reasons(answer)) == (202, [0xC409])
    failure, success = web.ledger.audit.recent()
    assert (failure.outcome, failure.detail["failed"]) == (AuditOutcome.FAILURE, 1)
    assert success.study_instance_uid == one.StudyInstanceUID
    (failed,) = items(answer, "00081198")
    assert failed["00081155"]["Value"] == [two.SOPInstanceUID]
    alone = store(web, body(part10(two)), path)
    assert (alone.status_code, reasons(alone)) == (409, [0xC409])
    assert len(web.ledger.queries.recent()) == 1
    assert web.left_in_incoming() == []


def refused(kind: str) -> bytes:
    dataset = make_cr(rows=8, columns=8)
    if kind == "class":
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    file = part10(dataset)
    little, big = b"1.2.840.10008.1.2.1\0", ExplicitVRBigEndian.encode() + b"\0"
    return {
        "class": file,
        "syntax": file.replace(little, big, 1),
        "truncated": file[:-50],
        "picture": picture(),
        "nothing": b"",
        "zeros": b"\0" * 500,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("class", 0x0122),
        ("syntax", 0xC122),
        ("truncated", 0xC000),
        ("picture", 0xC000),
        ("nothing", 0xC000),
        ("zeros", 0xC000),
    ],
)
def test_what_is_not_taken_has_a_reason_and_does_not_prevent_the_rest(
    web: Web, kind: str, reason: int
) -> None:
    """PS3.18 table I.2-2."""
    alone = store(web, body(refused(kind)))
    assert (alone.status_code, reasons(alone)) == (409, [reason])
    both = store(web, body(refused(kind), part10(make_cr(rows=8, columns=8))))
    assert (both.status_code, reasons(both)) == (202, [reason])
    assert len(web.ledger.queries.recent()) == 1
    assert web.left_in_incoming() == []


@pytest.mark.parametrize(
    ("content_type", "content", "status"),
    [
        ("application/dicom", b"x", 415),
        ("multipart/form-data; boundary=cut", b"x", 415),
        ('multipart/related; type="application/dicom+json"; boundary=cut', b"x", 415),
        ('multipart/related; type="application/dicom"', b"x", 400),
        (f'multipart/related; type="application/dicom"; boundary={"x" * 201}', b"x", 400),
        ("", b"x", 415),
        (RELATED, b"", 400),
        (RELATED, b"nonsense", 400),
        (RELATED, b"--cut--\r\n", 400),
        (RELATED, body(b"DICM")[:-8], 400),
        (RELATED, body(b"x", content_type="application/dicom+json"), 415),
        (RELATED, b"--cut\r\n" + b"X-Long: " + b"x" * 10_000 + b"\r\n\r\nx\r\n--cut--", 400),
        (RELATED, body(*[b""] * 1001), 413),
    ],
)
def test_a_body_that_is_not_as_the_standard_has_it_is_a_problem(
    web: Web, content_type: str, content: bytes, status: int
) -> None:
    answer = store(web, content, **{"content-type": content_type})
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert web.ledger.queries.recent() == []
    assert web.left_in_incoming() == []


def test_what_came_before_a_damage_is_stored(web: Web) -> None:
    answer = store(web, body(part10(make_cr(rows=8, columns=8)), b"x" * 500)[:-20])
    assert answer.status_code == 400
    assert len(web.ledger.queries.recent()) == 1
    assert web.left_in_incoming() == []
    record, *_ = web.ledger.audit.recent()
    assert record.detail["stored"] == 1


def test_a_sender_that_goes_away_leaves_only_what_was_complete(web: Web) -> None:
    content = body(part10(make_cr(rows=8, columns=8)), b"x" * 100_000)[:-50_000]
    head = (
        f"POST {STUDIES} HTTP/1.1\r\nHost: {LOOPBACK}:{web.port}\r\nContent-Type: {RELATED}\r\n"
        f"Content-Length: {len(content) + 50_000}\r\n\r\n"
    )
    with socket.create_connection((LOOPBACK, web.port), timeout=30) as connection:
        connection.sendall(head.encode() + content)
        wait_for(lambda: len(web.ledger.queries.recent()) == 1, 30)
    wait_for(lambda: web.left_in_incoming() == [], 30)
    wait_for(lambda: bool(web.ledger.audit.recent()), 30)
    assert [record.detail["stored"] for record in web.ledger.audit.recent()] == [1]


def test_a_body_beyond_the_limit_is_cut_off(web: Web) -> None:
    pieces = (b"x" * (1 << 16) for _ in range(100))
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    answer = store(web, (each for part in ([head], pieces) for each in part))
    assert answer.status_code == 413
    assert web.left_in_incoming() == []


@pytest.mark.parametrize("study", ["x", "1..2", "%2e%2e%2fx", "1" * 65])
def test_an_address_that_is_no_study_is_not_found(web: Web, study: str) -> None:
    answer = store(web, body(part10(make_cr(rows=8, columns=8))), f"{STUDIES}/{study}")
    assert answer.status_code == 404
    assert web.ledger.queries.recent() == []


def test_only_json_answers(web: Web) -> None:
    xml = {"accept": "application/dicom+xml"}
    assert store(web, body(b"x"), **xml).status_code == 406


def test_only_who_may_upload_stores(web: Web) -> None:
    content = body(part10(make_cr(rows=8, columns=8)))
    headers = {"content-type": RELATED}
    viewer = web.sign_in(Role.VIEWER)
    assert viewer.post(STUDIES, content=content, headers=headers).status_code == 403
    assert store(web, content).status_code == 401
    operator = web.sign_in(Role.OPERATOR)
    token = operator.headers.pop("X-CSRF-Token")
    assert operator.post(STUDIES, content=content, headers=headers).status_code == 403
    assert web.ledger.queries.recent() == []
    headers["X-CSRF-Token"] = token
    assert operator.post(STUDIES, content=content, headers=headers).status_code == 200


def test_a_disk_at_its_reserve_asks_to_come_back_later(tmp_path: Path) -> None:
    with Web(tmp_path / "state", reserve_bytes=1 << 60).running() as full:
        answer = store(full, body(part10(make_cr(rows=8, columns=8))))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert full.left_in_incoming() == []


@pytest.mark.parametrize("path", ["/dicom-web", "/dicom-web/", "/dicom-web/nothing"])
def test_an_unknown_address_is_a_problem(web: Web, path: str) -> None:
    answer = web.client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    other = web.client.delete(f"{STUDIES}/{generate_uid()}")
    assert (other.status_code, other.headers["allow"]) == (405, "GET, POST")
