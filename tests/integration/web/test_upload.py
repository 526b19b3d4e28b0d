import io
import os
import socket
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRBigEndian,
    SecondaryCaptureImageStorage,
)
from support.system.ports import LOOPBACK
from support.web_server import Web, part10, picture
from synthetic.objects import make_cr, make_dx

from service.decoding import Answer
from service.decoding.pictures import PictureHandler
from service.domain.job import JobState, Source
from service.domain.reasons import Reason


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.dcm", b"\0" * 500)
    return stream.getvalue()


def test_a_dicom_instance_is_received_spooled_and_notified(web: Web, tmp_path: Path) -> None:
    dataset = make_dx()
    answer = web.send(part10(dataset, tmp_path))
    (instance,) = answer.json()["instances"]
    job = web.ledger.queries.job(instance["job_id"])
    assert (answer.status_code, instance["repeated"]) == (201, False)
    assert job is not None
    assert (job.state, job.source) == (JobState.RECEIVED, Source.UPLOAD)
    assert dcmread(web.spool.inbox(job.id)).SOPInstanceUID == dataset.SOPInstanceUID
    assert (web.notifications, web.left_in_incoming()) == (1, [])


def test_the_same_instance_again_is_the_same_job(web: Web, tmp_path: Path) -> None:
    content = part10(make_cr(), tmp_path)
    first, second = web.send(content), web.send(content)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["instances"][0]["job_id"] == first.json()["instances"][0]["job_id"]
    assert second.json()["instances"][0]["repeated"] is True
    assert len(web.inbox()) == 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_same_picture_twice_is_one_job(web: Web, kind: str) -> None:
    content = picture(kind)
    first, second = (web.send(content).json()["instances"][0] for _ in range(2))
    assert first["job_id"] == second["job_id"]
    assert second["repeated"] is True
    assert dcmread(web.spool.inbox(first["job_id"])).Rows == 80
    assert web.left_in_incoming() == []


def test_of_several_files_each_has_its_own_outcome(web: Web, tmp_path: Path) -> None:
    answer = web.send(part10(make_cr(), tmp_path), b"<!doctype html>", picture())
    one, two, three = answer.json()["instances"]
    assert answer.status_code == 207
    assert web.ledger.jobs.exists(one["job_id"])
    assert two["problem"]["status"] == 415
    assert web.ledger.jobs.exists(three["job_id"])
    assert web.left_in_incoming() == []


@pytest.mark.parametrize("content", [zipped(), b"<!doctype html><p>", b"", b"\0" * 200, b"%PDF-1"])
def test_what_is_no_instance_is_refused_with_what_would_be_taken(
    empty_web: Web, content: bytes
) -> None:
    answer = empty_web.send(content)
    assert answer.status_code == 415
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].endswith("DICOM Part 10, PNG, JPEG and a ZIP of them are taken.")
    assert (empty_web.left_in_incoming(), empty_web.inbox()) == ([], [])


def test_a_broken_picture_is_refused_with_an_explanation(empty_web: Web) -> None:
    answer = empty_web.send(picture()[:500])
    assert answer.status_code == 422
    assert "cannot be decoded" in answer.json()["detail"]
    assert empty_web.left_in_incoming() == []


def test_a_truncated_instance_is_refused_with_its_reason(empty_web: Web, tmp_path: Path) -> None:
    answer = empty_web.send(part10(make_cr(), tmp_path)[:-100])
    assert answer.status_code == 422
    assert answer.json()["reason"] == "truncated"
    assert (empty_web.left_in_incoming(), empty_web.inbox()) == ([], [])


def test_a_class_that_the_listener_would_not_negotiate_is_refused(
    empty_web: Web, tmp_path: Path
) -> None:
    dataset = make_cr()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    answer = empty_web.send(part10(dataset, tmp_path))
    assert answer.status_code == 422
    assert "SOP class" in answer.json()["detail"]
    assert (empty_web.left_in_incoming(), empty_web.inbox()) == ([], [])


def test_a_transfer_syntax_that_the_listener_would_not_negotiate_is_refused(
    empty_web: Web, tmp_path: Path
) -> None:
    content = part10(make_cr(), tmp_path)
    little, big = b"1.2.840.10008.1.2.1\0", ExplicitVRBigEndian.encode() + b"\0"
    answer = empty_web.send(content.replace(little, big, 1))
    assert answer.status_code == 422
    assert "transfer syntax" in answer.json()["detail"]


def test_a_file_that_says_one_class_and_holds_another_is_refused(
    empty_web: Web, tmp_path: Path
) -> None:
    said, held = SecondaryCaptureImageStorage.encode(), ComputedRadiographyImageStorage.encode()
    content = part10(make_cr(), tmp_path).replace(held, said, 1)  # in the file meta information
    answer = empty_web.send(content)
    assert (answer.status_code, answer.json()["reason"]) == (422, "sop-class-mismatch")


def test_a_disk_at_its_reserve_answers_insufficient_storage(tmp_path: Path) -> None:
    with Web(tmp_path / "state", reserve_bytes=1 << 60).running() as full:
        answer = full.send(picture())
        assert answer.status_code == 507
        assert answer.json()["reason"] == "out-of-resources"
        assert full.left_in_incoming() == []


def raw(web: Web, head: str) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, web.port), timeout=30)
    host = f"Host: {LOOPBACK}:{web.port}\r\n"
    start = "POST /api/instances HTTP/1.1\r\n"
    kind = "Content-Type: multipart/form-data; boundary=cut\r\n"
    connection.sendall(f"{start}{host}{kind}{head}\r\n".encode())
    return connection


def test_a_body_that_states_too_large_a_length_is_refused_before_it_is_read(empty_web: Web) -> None:
    with raw(empty_web, f"Content-Length: {1 << 30}\r\n") as connection:
        answer = connection.recv(65536)
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"at most 4,194,304 bytes".lower() in answer.lower()


def test_a_body_without_a_length_is_cut_off_at_the_limit(empty_web: Web) -> None:
    piece = b"\x89PNG\r\n\x1a\n" + b"x" * (1 << 18)
    sent = 0
    with raw(empty_web, "Transfer-Encoding: chunked\r\n") as connection:
        opening = b'--cut\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        connection.sendall(b"%x\r\n%b\r\n" % (len(opening), opening))
        try:
            while sent < 1 << 30:
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < 64 << 20  # what lay in the sockets' buffers on top of the 4 MiB allowed
    assert empty_web.client.get("/health/live").status_code == 200
    assert (empty_web.left_in_incoming(), empty_web.inbox()) == ([], [])


def test_a_body_that_breaks_off_leaves_nothing_behind(empty_web: Web) -> None:
    opening = b'--cut\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    body = opening + picture() + b"\r\n"  # without the closing boundary
    with raw(empty_web, f"Content-Length: {len(body)}\r\n") as connection:
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert (empty_web.left_in_incoming(), empty_web.inbox()) == ([], [])


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/dicom", b"\0" * 128 + b"DICM", 415),
        ("multipart/form-data", b"", 415),
        ("multipart/form-data; boundary=cut", b"nonsense", 400),
        ("multipart/form-data; boundary=cut", b"--cut--\r\n", 400),
        (
            "multipart/form-data; boundary=cut",
            b'--cut\r\nContent-Disposition: form-data; name="f"; filename=""\r\n\r\n\r\n--cut--',
            400,
        ),
    ],
)
def test_a_body_without_a_file_in_it_is_a_problem(
    empty_web: Web, content_type: str, body: bytes, status: int
) -> None:
    answer = empty_web.client.post(
        "/api/instances", content=body, headers={"content-type": content_type}
    )
    assert answer.status_code == status
    assert answer.json()["status"] == status


def test_too_many_files_in_one_request_are_refused_as_a_whole(empty_web: Web) -> None:
    answer = empty_web.send(*[b"x"] * 101)
    assert answer.status_code == 413
    assert "100 files" in answer.json()["detail"]
    assert empty_web.left_in_incoming() == []


class SlowHandler(PictureHandler):
    """Converts as ever, but takes long where a picture is wide, and aborts where it is narrow."""

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        with Image.open(request["picture"]) as image:
            if image.width > WIDE:
                time.sleep(20)
            if image.width < NARROW:
                os.abort()
        return super().__call__(request)


WIDE, NARROW = 200, 20


def png(width: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (width, 30), 128).save(stream, "PNG")
    return stream.getvalue()


def test_slow_pictures_hold_up_no_other_upload_and_are_refused_when_all_are_busy(
    tmp_path: Path,
) -> None:
    limits = {"quick_seconds": 1.5, "seconds": 3}  # the other upload ends within the first
    instance = part10(make_cr(), tmp_path)
    with (
        Web(tmp_path / "state", decoding=limits).running(SlowHandler()) as web,
        ThreadPoolExecutor(3) as senders,
    ):
        slow = [senders.submit(web.send, png(WIDE + 1)) for _ in range(3)]
        time.sleep(0.1)
        assert web.send(instance).status_code == 201
        assert not any(each.done() for each in slow)
        answers = [each.result() for each in slow]
        refused = [each for each in answers if each.status_code == 503]
        (ended,) = [each for each in answers if each.status_code == 422]
        assert [each.headers["Retry-After"] for each in refused] == ["10", "10"]
        assert ended.json()["reason"] == Reason.DECODER_TIMEOUT
        crashed = web.send(png(NARROW - 1))
        assert (crashed.status_code, crashed.json()["reason"]) == (422, Reason.DECODER_CRASHED)
        assert web.send(png(100)).status_code == 201
        assert web.left_in_incoming() == []


def test_a_picture_in_a_zip_waits_while_the_decoders_are_busy(tmp_path: Path) -> None:
    limits = {"quick_seconds": 0.5, "seconds": 3}
    with (
        Web(tmp_path / "state", decoding=limits).running(SlowHandler()) as web,
        ThreadPoolExecutor(3) as senders,
    ):
        slow = [senders.submit(web.send, png(WIDE + 1)) for _ in range(3)]
        while len(web.left_in_incoming()) < 3:
            time.sleep(0.01)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("a.png", png(100))
        assert web.send(stream.getvalue()).status_code == 201
        assert {each.result().status_code for each in slow} <= {422, 503}
        assert web.left_in_incoming() == []
