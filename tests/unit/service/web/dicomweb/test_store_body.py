"""The parts of a body on a disk that becomes full."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest

from service.storage.spool import Spool
from service.web.dicomweb.store_body import StoreBody
from service.web.problem import Problem

HEAD = b"--cut\r\nContent-Type: application/dicom\r\n\r\n"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool")
    made.prepare()
    return made


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to write more, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _feed_what_is_refused(spool: Spool) -> None:
    with files_of_at_most(20), StoreBody.of(b"cut", spool) as body:
        body.feed(HEAD + b"one" + b"\r\n" + HEAD + b"two" + b"\r\n" + HEAD + b"x" * 500)
        assert len(list(spool.incoming.iterdir())) == 3
        raise Problem(HTTPStatus.BAD_REQUEST, "The headers of a part are too long.")


def test_a_full_disk_neither_hides_the_answer_nor_leaves_files(spool: Spool) -> None:
    with pytest.raises(Problem, match="too long"):
        _feed_what_is_refused(spool)
    assert list(spool.incoming.iterdir()) == []


def test_what_is_taken_is_the_caller_s_and_the_rest_is_removed(spool: Spool) -> None:
    with StoreBody.of(b"cut", spool) as body:
        body.feed(HEAD + b"one" + b"\r\n" + HEAD + b"two" + b"\r\n--cut--\r\n")
        taken = body.next_completed()
        assert taken is not None
        assert taken.read_bytes() == b"one"
    assert list(spool.incoming.iterdir()) == [taken]
