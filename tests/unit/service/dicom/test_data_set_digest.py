"""The digest of a data set: BLAKE3, the same however its bytes come, and told from a SHA-256."""

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.data_set_digest import DataSetDigest, digest_of, is_sha256, sha256_of

# of the first 0, 1 and 1,025 bytes of 0, 1, …, 250, 0, …, from the authors' test vectors
VECTORS = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93ca",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb",
}


@pytest.mark.parametrize(("size", "digits"), VECTORS.items())
def test_it_is_what_blake3_defines(size: int, digits: str) -> None:
    content = bytes(number % 251 for number in range(size))
    assert digest_of(io.BytesIO(content)) == f"blake3:{digits}"


@given(pieces=st.lists(st.binary(max_size=5000), max_size=6))
def test_it_is_the_same_however_the_bytes_come(pieces: list[bytes]) -> None:
    digest = DataSetDigest()
    for piece in pieces:
        digest.update(memoryview(piece))
    assert digest.text() == digest_of(io.BytesIO(b"".join(pieces)))


def test_a_stream_is_read_from_its_position_and_to_its_end() -> None:
    content = bytes(range(256)) * 9000  # more than is read at once
    stream = io.BytesIO(b"head" + content)
    stream.seek(4)
    assert digest_of(stream) == digest_of(io.BytesIO(content))
    stream.seek(4)
    assert sha256_of(stream) == hashlib.sha256(content).hexdigest()


def test_the_two_kinds_are_told_apart_and_fit_the_ledger() -> None:
    stream = io.BytesIO(b"x")
    assert not is_sha256(digest_of(stream))
    stream.seek(0)
    assert is_sha256(sha256_of(stream))
    assert len(digest_of(io.BytesIO())) <= 64  # the column's
