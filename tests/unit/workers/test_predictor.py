import json
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from peers.objects import make_cr, make_sc

from service.reasons import Reason
from workers.prediction import Finding, NotAnalysable
from workers.predictor import BundleError, Predictor

BUNDLE = Path(__file__).resolve().parents[3] / "monai_bundle"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(autouse=True)
def the_bundle_that_was_importable_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo that a predictor of a copy makes the copy's scripts the importable ones."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] == "scripts"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(BUNDLE, device="cpu")


@pytest.fixture
def instances(tmp_path: Path) -> list[Path]:
    paths = []
    for number, rows in enumerate((200, 300, 384, 400, 500)):
        paths.append(tmp_path / f"{number}.dcm")
        dataset = make_cr(rows=rows) if number % 2 else make_sc(rows=rows, columns=320 + rows)
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def a_bundle_whose_metadata(folder: Path, change: Change) -> Path:
    copied = folder / "bundle"
    shutil.copytree(BUNDLE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = json.loads((copied / "configs" / "metadata.json").read_text())
    change(metadata)
    (copied / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return copied


def test_the_model_is_described_as_the_metadata_say(predictor: Predictor) -> None:
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    model = predictor.model
    assert (model.name, model.version) == (metadata["name"], metadata["version"])
    assert model.weights_sha256 == metadata["weights"]["sha256"]
    assert model.calibrated
    assert model.operating_point.name == metadata["default_operating_point"]


def test_a_batch_gives_what_each_gives_alone_in_the_same_order(
    predictor: Predictor, instances: list[Path]
) -> None:
    prepared = [predictor.prepare(path) for path in instances]
    together = predictor.predict(prepared)
    alone = [predictor.predict([one])[0] for one in prepared]
    assert [found.probability for found in together] == pytest.approx(
        [found.probability for found in alone], abs=1e-5
    )
    assert len({found.probability for found in together}) > 1
    for found in together:
        assert 0 <= found.probability <= 1
        assert found.finding == predictor.model.operating_point.read(found.probability)
        assert found.model == predictor.model


def test_no_instances_give_no_predictions(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_threads_prepare_the_same_as_one_after_the_other(
    predictor: Predictor, instances: list[Path]
) -> None:
    expected = [predictor.prepare(path) for path in instances]
    with ThreadPoolExecutor(8) as threads:
        for found, wanted in zip(
            threads.map(predictor.prepare, instances * 6), expected * 6, strict=True
        ):
            assert torch.equal(found, wanted)


def test_a_refused_radiograph_carries_the_services_own_reason(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = tmp_path / "blank.dcm"
    dataset = make_cr()
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(NotAnalysable) as refused:
        predictor.prepare(path)
    assert refused.value.reason is Reason.BLANK


def test_a_path_that_cannot_be_read_is_no_fault_of_the_radiograph(
    predictor: Predictor, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        predictor.prepare(tmp_path / "nowhere.dcm")


def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    predictor: Predictor, instances: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = [predictor.prepare(path) for path in instances]
    expected = [found.probability for found in predictor.predict(prepared)]
    sizes = []
    whole = predictor._inferer

    def small(images: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("the card is full")
        return whole(images, network)

    monkeypatch.setattr(predictor, "_inferer", small)
    found = [found.probability for found in predictor.predict(prepared)]
    assert found == pytest.approx(expected, abs=1e-5)
    assert sizes == [5, 2, 3, 1, 2]


def test_one_instance_that_does_not_fit_is_an_error(
    predictor: Predictor, instances: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("the card is full")

    monkeypatch.setattr(predictor, "_inferer", never)
    with pytest.raises(torch.OutOfMemoryError):
        predictor.predict([predictor.prepare(path) for path in instances])


def test_another_operating_point_changes_the_finding_and_not_the_probability(
    instances: list[Path], tmp_path: Path
) -> None:
    def change(metadata: dict[str, Any]) -> None:
        metadata["operating_points"]["never"] = {"threshold": 1, "indeterminate": [1, 1]}
        metadata["operating_points"]["always"] = {"threshold": 0, "indeterminate": [0, 0]}

    bundle = a_bundle_whose_metadata(tmp_path, change)
    found = {}
    for name in ("never", "always"):
        predictor = Predictor(bundle, device="cpu", operating_point=name)
        [found[name]] = predictor.predict([predictor.prepare(instances[0])])
    assert found["never"].probability == found["always"].probability
    assert (found["never"].finding, found["always"].finding) == (Finding.ABSENT, Finding.PRESENT)


def test_an_unknown_operating_point_names_those_there_are() -> None:
    with pytest.raises(BundleError, match=r"choose one of .*screening"):
        Predictor(BUNDLE, operating_point="guess")


def test_a_folder_that_is_no_bundle_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"not a bundle.*bundle\.path"):
        Predictor(tmp_path)


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_says_what_to_set(device: str) -> None:
    with pytest.raises(BundleError, match=r"bundle\.device"):
        Predictor(BUNDLE, device=device)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda metadata: metadata["weights"].update(sha256="0" * 64), "another SHA-256"),
        (lambda metadata: metadata["weights"].update(path="models/none.pt"), "cannot be read"),
        (lambda metadata: metadata.pop("operating_points"), "operating_points"),
        (lambda metadata: metadata.pop("weights"), "weights"),
        (lambda metadata: metadata["calibration"].update(temperature=-1), "cannot be used"),
        (
            lambda metadata: metadata["operating_points"]["balanced"].update(threshold=7),
            "holds nonsense",
        ),
    ],
    ids=["digest", "path", "no points", "no weights", "temperature", "threshold"],
)
def test_metadata_that_cannot_be_right_are_refused_in_one_line(
    tmp_path: Path, change: Change, message: str
) -> None:
    bundle = a_bundle_whose_metadata(tmp_path, change)
    with pytest.raises(BundleError, match=message) as refused:
        Predictor(bundle)
    assert "\n" not in str(refused.value)


def test_weights_are_not_unpickled_before_their_digest_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = a_bundle_whose_metadata(tmp_path, lambda _: None)
    (bundle / "models" / "model.pt").write_bytes(b"not the weights")
    opened = []
    monkeypatch.setattr(torch, "load", lambda *_, **__: opened.append(1))
    with pytest.raises(BundleError, match="another SHA-256"):
        Predictor(bundle)
    assert not opened


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.json", "{", "not valid JSON"),
        ("metadata.json", "[]", "JSON object"),
        ("inference.yaml", "a: [", "cannot be used"),
        ("inference.yaml", "network_def: 1", "cannot be used"),
    ],
)
def test_a_broken_configuration_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    bundle = a_bundle_whose_metadata(tmp_path, lambda _: None)
    (bundle / "configs" / name).write_text(content)
    with pytest.raises(BundleError, match=message) as refused:
        Predictor(bundle)
    assert "\n" not in str(refused.value)


def test_two_bundles_may_be_loaded_one_after_the_other(
    predictor: Predictor, instances: list[Path], tmp_path: Path
) -> None:
    other = Predictor(a_bundle_whose_metadata(tmp_path, lambda _: None), device="cpu")
    assert torch.equal(other.prepare(instances[0]), predictor.prepare(instances[0]))
