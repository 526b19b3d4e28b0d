"""What is kept of an engine is trusted only as long as nothing of it has changed."""

import json
from pathlib import Path

import pytest

from workers.inference.engines.artefact import OPENVINO, TORCH, Artefact, Record, find, keep

IDENTITY = {"bundle": "0" * 64, "openvino": "1"}


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    return tmp_path / "engines"


@pytest.fixture
def kept(engines: Path) -> Artefact:
    record = Record(
        identity=IDENTITY,
        engine=OPENVINO,
        reason="it is faster",
        shape=(1, 4, 4),
        outputs=("pred",),
        numbers=1,
        difference=1e-7,
        milliseconds={"torch": {"1": 2.0, "8": 1.5}, "openvino": {"1": 1.0, "8": 0.5}},
    )
    return keep(engines, record, b"a network")


def test_what_was_kept_is_found_by_its_identity_alone(engines: Path, kept: Artefact) -> None:
    assert find(engines, IDENTITY) == kept
    assert kept.network.read_bytes() == b"a network"
    assert find(engines, IDENTITY | {"openvino": "2"}) is None
    assert find(engines, IDENTITY | {"bundle": "1" * 64}) is None


def test_a_network_with_another_digest_is_not_trusted(engines: Path, kept: Artefact) -> None:
    kept.network.write_bytes(b"A network")
    assert find(engines, IDENTITY) is None
    kept.network.unlink()
    assert find(engines, IDENTITY) is None


def test_a_record_of_another_identity_is_not_trusted(engines: Path, kept: Artefact) -> None:
    path = kept.folder / "record.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | {"identity": IDENTITY | {"bundle": "1" * 64}}))
    assert find(engines, IDENTITY) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"shape": 1, "outputs": 2}', "\ud800"])
def test_a_damaged_record_is_as_none(engines: Path, kept: Artefact, content: str) -> None:
    (kept.folder / "record.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert find(engines, IDENTITY) is None


def test_what_other_accounts_may_read_is_not_trusted(engines: Path, kept: Artefact) -> None:
    engines.chmod(0o755)
    assert find(engines, IDENTITY) is None
    engines.chmod(0o700)
    assert find(engines, IDENTITY) == kept
    kept.folder.chmod(0o777)
    assert find(engines, IDENTITY) is None


def test_all_that_is_kept_is_private(engines: Path, kept: Artefact) -> None:
    assert [path.stat().st_mode & 0o077 for path in (engines, *kept.folder.iterdir())] == [0, 0, 0]


def test_an_engine_that_failed_is_remembered_and_its_network_is_gone(
    engines: Path, kept: Artefact
) -> None:
    kept.distrust()
    found = find(engines, IDENTITY)
    assert found is not None
    assert (found.record.engine, found.record.sha256) == (TORCH, None)
    assert not found.network.exists()


def test_only_the_newest_are_kept(engines: Path, kept: Artefact) -> None:
    for number in range(10):
        record = Record(identity=IDENTITY | {"openvino": str(10 + number)}, engine=TORCH, reason="")
        keep(engines, record)
    assert len(list(engines.iterdir())) == 8
    assert find(engines, kept.record.identity) is None
    assert find(engines, IDENTITY | {"openvino": "19"}) is not None


def test_the_summary_says_engine_reason_times_and_difference(kept: Artefact) -> None:
    assert kept.record.summary == (
        "openvino: it is faster; a radiograph alone and in a batch takes torch 2.0 ms and 1.5 ms, "
        "openvino 1.0 ms and 0.5 ms; probabilities differ by up to 1e-07"
    )
    assert Record(identity={}, engine=TORCH, reason="no other").summary == "torch: no other"
