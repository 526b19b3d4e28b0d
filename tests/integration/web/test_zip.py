"""A ZIP of a study, as it should be and as an attacker makes it."""

import io
import socket
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid
from support.system.ports import LOOPBACK
from support.system.small_disk import small_disk
from support.web_server import Web, part10, picture
from synthetic.archives import encrypted, link, overlapping, quoted, with_name, zipped
from synthetic.objects import make_cr, make_dx

from service.domain.job import Source
from service.web.uploading.archive import Archive
from service.web.uploading.refusals import Refusal

FRUGAL = {
    "maximum_upload_bytes": 4 << 20,
    "maximum_zip_entries": 50,
    "maximum_zip_bytes": 64 << 20,
    "maximum_zip_entry_bytes": 32 << 20,
}


@pytest.fixture(scope="module")
def frugal_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One server with small limits, for all tests that must leave nothing in it."""
    with Web(tmp_path_factory.mktemp("web") / "state", web=FRUGAL).running() as running:
        yield running
        assert running.ledger.queries.recent() == []
        assert (running.left_in_incoming(), running.inbox()) == ([], [])


def outcomes(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the outcome of each file; a single refused one is answered as a problem."""
    body = answer.json()
    return list(body["instances"]) if "instances" in body else [{"problem": body}]


def refused(web: Web, content: bytes) -> str:
    """Send what must be refused as a whole, and return why."""
    (only,) = outcomes(web.send(content, name="study.zip"))
    return str(only["problem"]["detail"])


def directory_of_a_medium() -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.FileSetID = "STUDY"
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def test_of_a_zip_each_file_has_its_own_outcome(web: Web, tmp_path: Path) -> None:
    first, second = part10(make_cr(), tmp_path), part10(make_dx(), tmp_path)
    archive = zipped(
        [
            ("STUDY/", b""),
            ("STUDY/IM1", first),
            ("STUDY/IM2", second),
            ("STUDY/IM3", first),
            ("DICOMDIR", directory_of_a_medium()),
            ("report.pdf", b"%PDF-1.7"),
            ("view.png", picture(seed=5)),
            ("__MACOSX/STUDY/._IM1", b"\0\5\x16\7"),
            ("STUDY/.DS_Store", b"Bud1"),
        ]
    )
    answer = web.send(archive, name="study.zip")
    found = {each["name"]: each for each in outcomes(answer)}
    assert answer.status_code == 207
    assert list(found) == [
        *("study.zip/STUDY/IM1", "study.zip/STUDY/IM2", "study.zip/STUDY/IM3"),
        *("study.zip/DICOMDIR", "study.zip/report.pdf", "study.zip/view.png"),
    ]
    assert found["study.zip/STUDY/IM1"]["job_id"] == found["study.zip/STUDY/IM3"]["job_id"]
    assert found["study.zip/STUDY/IM3"]["repeated"] is True
    assert "passed over" in found["study.zip/DICOMDIR"]["problem"]["detail"]
    assert "It is a PDF" in found["study.zip/report.pdf"]["problem"]["detail"]
    jobs = web.ledger.queries.recent()
    assert {job.id for job in jobs} == {
        found[f"study.zip/{name}"]["job_id"] for name in ("STUDY/IM1", "STUDY/IM2", "view.png")
    }
    assert {job.source for job in jobs} == {Source.UPLOAD}
    assert (len(web.inbox()), web.left_in_incoming()) == (3, [])


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_of_instances_alone_is_created(
    web: Web, tmp_path: Path, method: int, *, zip64: bool
) -> None:
    archive = zipped({"a.dcm": part10(make_cr(), tmp_path)}, method, zip64=zip64)
    assert web.send(archive).status_code == 201
    assert (len(web.inbox()), web.left_in_incoming()) == (1, [])


def test_a_file_named_twice_is_read_twice(web: Web, tmp_path: Path) -> None:
    pairs = [("a.dcm", part10(make_cr(), tmp_path)), ("a.dcm", part10(make_dx(), tmp_path))]
    found = outcomes(web.send(zipped(pairs)))
    assert len({each["job_id"] for each in found}) == 2


def test_a_dicom_file_that_is_a_zip_as_well_is_dicom(web: Web, tmp_path: Path) -> None:
    archive = zipped({"inner.png": picture()})
    content = part10(make_cr(), tmp_path)
    behind = b"PK\x03\x04" + content[4:128] + content[128:]
    for polyglot in (content + archive, behind):
        assert len(outcomes(web.send(polyglot))) == 1
    jobs = web.ledger.queries.recent()
    assert len({job.sop_instance_uid for job in jobs}) == 1  # and nothing of the archive
    assert web.left_in_incoming() == []


HOSTILE_NAMES = {
    "html": b"<script>alert(1)</script>.dcm",
    "nul": b"a\0b.dcm",
    "only nul": b"\0",
    "right-to-left": "\N{RIGHT-TO-LEFT OVERRIDE}mcd.exe".encode(),
    "long": b"n" * 10_000,
    "absolute": b"/etc/cron.d/evil",
    "parent": b"../../../../../../tmp/evil.dcm",
    "windows": b"C:\\Windows\\evil.dcm",
    "not-utf-8": b"\xff\xfe\xfd.dcm",
    "newline": b"a\r\nSet-Cookie: a=b",
}


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_hostile_name_is_shown_and_never_used(web: Web, tmp_path: Path, name: bytes) -> None:
    archive = with_name(part10(make_cr(), tmp_path), name)
    (only,) = outcomes(web.send(archive))
    assert web.ledger.jobs.exists(only["job_id"])
    assert only["name"].isprintable()
    assert len(only["name"]) < 300
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if "evil" in path.name or "script" in path.name]
    assert not Path("/etc/cron.d/evil").exists()
    assert (len(web.inbox()), web.left_in_incoming()) == (1, [])


def many(count: int) -> bytes:
    return zipped({f"{n}.dcm": b"" for n in range(count)}, zipfile.ZIP_STORED)


WHOLE = {
    "nothing in it": (lambda: zipped({}), "no file in the archive"),
    "only folders": (lambda: zipped({"a/": b""}), "no file in the archive"),
    "51 files": (lambda: many(51), "more than 50 files"),
    "10,000 files": (lambda: many(10_000), "more than 50 files"),
    "a list of 2 MiB": (lambda: many(36_000), "more than 50 files"),
    "more bytes than allowed": (
        lambda: zipped({f"{n}": bytes(17 << 20) for n in range(4)}),
        "more than 67,108,864 bytes together",
    ),
    "the same file 40 times": (lambda: overlapping(40, bytes(1 << 20)), "overlap"),
    "files that quote each other": (lambda: quoted(40, bytes(1 << 20)), "overlap"),
    "cut off": (lambda: zipped({"a.dcm": picture()})[:-30], "list of files cannot be read"),
    "only its beginning": (lambda: b"PK\x03\x04" + bytes(50), "list of files cannot be read"),
    "a list that is no list": (
        lambda: zipped({"a.dcm": b"x"}).replace(b"PK\x01\x02", b"PK\x01\x03"),
        "list of files cannot be read",
    ),
    "a name that is no UTF-8": (
        lambda: zipped({"ä.dcm": b"x"}).replace("ä".encode(), b"\xff\xff"),
        "list of files cannot be read",
    ),
}


@pytest.mark.parametrize(("make", "why"), WHOLE.values(), ids=WHOLE)
def test_a_zip_beyond_a_limit_is_refused_as_a_whole(
    frugal_web: Web, make: Callable[[], bytes], why: str
) -> None:
    assert why in refused(frugal_web, make())
    assert (frugal_web.left_in_incoming(), frugal_web.inbox()) == ([], [])


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.dcm"))
    return stream.getvalue()


def damaged() -> bytes:
    content = bytearray(zipped({"a.png": picture()}, zipfile.ZIP_STORED))
    content[200] ^= 0xFF
    return bytes(content)


def claims(size: int) -> bytes:
    """Return a ZIP whose one file inflates to more than its list says."""
    honest = zipped({"a.dcm": bytes(1 << 20)})
    return honest.replace((1 << 20).to_bytes(4, "little"), size.to_bytes(4, "little"))


def other_method() -> bytes:
    return zipped({"a.png": picture()}, zipfile.ZIP_LZMA)


SINGLE = {
    "a bomb": (lambda: zipped({"a.dcm": bytes(20 << 20)}), "more than 100 times"),
    "a file of 33 MiB": (lambda: zipped({"a.dcm": bytes(33 << 20)}), "at most 33,554,432"),
    "more than it claims": (lambda: claims(100), "damaged in the archive"),
    "a zip in a zip": (lambda: zipped({"inner.zip": zipped({"a": b"b"})}), "an archive in another"),
    "a tar in a zip": (lambda: zipped({"inner.tgz": tar()}), "an archive in another"),
    "encrypted": (lambda: encrypted(picture()), "encrypted"),
    "a symbolic link": (lambda: link("/etc/passwd"), "link or a device"),
    "another method": (other_method, "another method"),
    "damaged bytes": (damaged, "damaged in the archive"),
    "an empty file": (lambda: zipped({"a.dcm": b""}), "The file is empty"),
    "a text": (lambda: zipped({"readme.txt": b"hello"}), "DICOM Part 10, PNG, JPEG"),
    "a truncated instance": (
        lambda: zipped({"a.png": picture()[:300]}),
        "cannot be decoded",
    ),
}


@pytest.mark.parametrize(("make", "why"), SINGLE.values(), ids=SINGLE)
def test_a_file_of_a_zip_is_refused_in_words(
    frugal_web: Web, make: Callable[[], bytes], why: str
) -> None:
    assert why in refused(frugal_web, make())
    assert (frugal_web.left_in_incoming(), frugal_web.inbox()) == ([], [])


def test_a_refused_file_stops_no_other(web: Web, tmp_path: Path) -> None:
    archive = zipped({"bomb": bytes(20 << 20), "a.dcm": part10(make_cr(), tmp_path)})
    bomb, instance = outcomes(web.send(archive))
    assert "100 times" in bomb["problem"]["detail"]
    assert web.ledger.jobs.exists(instance["job_id"])


def test_a_zip_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    limits = {"maximum_zip_seconds": 1e-6}
    with Web(tmp_path / "state", web=limits).running() as web:
        first, second = outcomes(web.send(zipped({"a": picture(), "b": picture()})))
        for each in (first, second):
            assert "not reached" in each["problem"]["detail"]
        assert (web.left_in_incoming(), web.inbox()) == ([], [])


def test_another_archive_is_refused_with_what_to_send(frugal_web: Web) -> None:
    assert "not a ZIP" in refused(frugal_web, tar())


def test_an_archive_is_closed_when_its_list_is_refused(tmp_path: Path) -> None:
    with Web(tmp_path / "state", web=FRUGAL).running() as web:
        path = tmp_path / "many.zip"
        path.write_bytes(many(51))
        with pytest.raises(Refusal):  # a file that stays open is a warning, and so an error here
            Archive(path, web.settings.web)


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "state", 24 << 20) as disk,
        Web(tmp_path / "state", reserve_bytes=1 << 20).running() as web,
    ):
        archive = zipped({f"{n}.bin": bytes(900_000) + bytes([n]) for n in range(8)})
        disk.fill(but=(1 << 20) + 200_000)
        found = outcomes(web.send(archive, name="full.zip"))
        assert {each["problem"]["status"] for each in found} == {507}
        assert web.left_in_incoming() == []
        disk.make_room()
        assert web.send(zipped({"a.png": picture()})).status_code == 201
        assert web.left_in_incoming() == []


def test_a_browser_that_goes_away_in_the_middle_leaves_nothing(empty_web: Web) -> None:
    archive = zipped({"a.png": picture()})
    opening = b'--cut\r\nContent-Disposition: form-data; name="f"; filename="f.zip"\r\n\r\n'
    head = (
        f"POST /upload HTTP/1.1\r\nHost: {LOOPBACK}:{empty_web.port}\r\n"
        "Content-Type: multipart/form-data; boundary=cut\r\n"
        f"Content-Length: {len(archive) + 1000}\r\n\r\n"
    )
    with socket.create_connection((LOOPBACK, empty_web.port), timeout=30) as connection:
        connection.sendall(head.encode() + opening + archive[:500])
        until = time.monotonic() + 20
        while not empty_web.left_in_incoming() and time.monotonic() < until:
            time.sleep(0.01)
        assert empty_web.left_in_incoming()
    while empty_web.left_in_incoming() and time.monotonic() < until:
        time.sleep(0.01)
    assert (empty_web.left_in_incoming(), empty_web.inbox()) == ([], [])
