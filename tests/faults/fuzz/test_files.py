"""Damaged files and requests at the pages: each upload ends in words, each picture too.

`make fuzz SECONDS=600 SEED=1` goes on for longer; a failure names the seed and the number.
"""

import io
import random
import socket
import zipfile
from collections.abc import Iterator
from typing import Final

import httpx
import pytest
from PIL import Image
from support.fuzz.length import Length
from support.system.ports import LOOPBACK
from support.web_server import Web
from synthetic.mutations import chance, mutated

from service.demo.run import SAMPLES
from service.domain.user import Role

ANSWER_SECONDS: Final = 60.0  # decoders may take their time; a hang takes longer
MORE_SECONDS: Final = 0.15  # a request that was cut is not answered: more of it may come
LIVE_EVERY: Final = 50
BUSY: Final = 503  # a decoder takes longer than a request waits: the next try may find it done
REFUSED_IN_WORDS: Final = frozenset({400, 404, 409, 413, 415, 422})
REQUESTS: Final = tuple(
    "\r\n".join((*lines, "")).encode()
    for lines in (
        ("GET / HTTP/1.1", "Host: 127.0.0.1", "Connection: close", ""),
        (
            *("POST /api/v1/instances HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 66"),
            *("Content-Type: multipart/form-data; boundary=x", "", "--x"),
            *('Content-Disposition: form-data; name="files"; filename="a"', "", "b", "--x--"),
        ),
        (
            *("GET /dicom-web/studies?limit=1 HTTP/1.1", "Host: 127.0.0.1"),
            *("Accept: application/dicom+json", "Connection: close", ""),
        ),
        (
            *("POST /dicom-web/studies HTTP/1.1", "Host: 127.0.0.1", "Transfer-Encoding: chunked"),
            'Content-Type: multipart/related; type="application/dicom"; boundary=y',
            *("", "5", "--y--", "0", ""),
        ),
        ("GET /events HTTP/1.1", "Host: 127.0.0.1", "Cookie: lobar_session=x", ""),
    )
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("pages")).running() as running:
        running.client.timeout = httpx.Timeout(ANSWER_SECONDS)
        yield running


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """What people upload: DICOM in three transfer syntaxes, PNG, JPEG and a ZIP of one of them."""
    dicom = [path.read_bytes() for path in sorted(SAMPLES.glob("*.dcm"))]
    pictures = []
    for form in ("PNG", "JPEG"):
        stream = io.BytesIO()
        Image.linear_gradient("L").resize((64, 64)).save(stream, form)
        pictures.append(stream.getvalue())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("IM1.dcm", dicom[0])
        archive.writestr("a/b.png", pictures[0])
    return [*dicom, *pictures, stream.getvalue()]


def damaged(valid: bytes, by: random.Random) -> bytes:
    """Damage the head of a file, where its structure is, or any of it."""
    if by.randrange(2):
        head = min(len(valid), 2048)
        return mutated(valid[:head], by) + valid[head:]
    return mutated(valid, by, most=8)


def test_each_damaged_file_ends_in_words_and_the_pages_go_on(
    pages: Web, files: list[bytes], length: Length
) -> None:
    person = pages.sign_in(Role.ADMIN)
    person.timeout = httpx.Timeout(ANSWER_SECONDS)
    outcomes: dict[int, int] = {}
    for number in length.numbers(ordinary=100):
        by = chance(length.seed, number)
        sent = damaged(by.choice(files), by)
        answer = person.post(
            "/api/v1/instances", files={"files": ("x", sent, "application/octet-stream")}
        )
        outcomes[answer.status_code] = outcomes.get(answer.status_code, 0) + 1
        assert answer.status_code in {200, 201, 207, *REFUSED_IN_WORDS}, length.replay(number)
        for job_id in taken(answer):
            picture = person.get(f"/jobs/{job_id}/radiograph")
            assert picture.status_code in {200, BUSY, *REFUSED_IN_WORDS}, length.replay(number)
        if number % LIVE_EVERY == 0:
            assert pages.client.get("/health/live").status_code == httpx.codes.OK
    assert len(outcomes) > 1, "some are taken and some are refused"
    assert pages.left_in_incoming() == []


def taken(answer: httpx.Response) -> list[str]:
    """List the jobs of what was taken."""
    listed = answer.json()
    found = listed.get("instances", []) if isinstance(listed, dict) else []
    return [each["job_id"] for each in found if each.get("job_id")]


def test_a_damaged_request_is_refused_or_waited_for(pages: Web, length: Length) -> None:
    answered = 0
    for number in length.numbers(ordinary=150):
        by = chance(length.seed, number)
        with socket.create_connection((LOOPBACK, pages.port)) as connection:
            answer = exchange(connection, mutated(by.choice(REQUESTS), by))
        if answer:
            answered += 1
            status = int(answer.split(b" ", 2)[1])
            assert answer.startswith(b"HTTP/1.1 "), length.replay(number)
            assert status < httpx.codes.INTERNAL_SERVER_ERROR, length.replay(number)
        if number % LIVE_EVERY == 0:
            assert pages.client.get("/health/live").status_code == httpx.codes.OK
    assert answered > 0


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send a request and return the first piece of the answer; nothing where more is awaited."""
    connection.settimeout(MORE_SECONDS)
    try:
        connection.sendall(request)
        return connection.recv(1 << 16)
    except OSError:
        return b""


def test_the_same_seed_damages_the_same(files: list[bytes]) -> None:
    by_seven = [damaged(files[0], chance(7, number)) for number in range(20)]
    assert by_seven == [damaged(files[0], chance(7, number)) for number in range(20)]
    assert by_seven != [damaged(files[0], chance(8, number)) for number in range(20)]
