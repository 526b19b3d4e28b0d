"""A loaded bundle, of another maker than the shipped one: its predictions, refusals and errors."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import pytest
import torch
from support.foreign_bundle import Change, gated, make_bundle
from synthetic.objects import make_cr, make_sc

from service.domain.reasons import Reason
from workers.inference.model_io import Pixels
from workers.inference.predictor import BundleError, Predictor
from workers.prediction import Finding, NotAnalysable, Prediction, Region

# MONAI's readers warn about a missing orientation and a decoder that is not installed
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:PydicomReader", "ignore:NvImgCodecPydicomReader", "ignore:Divide by zero"
    ),
    pytest.mark.usefixtures("validation_mode_restored"),
]

Answer = TypeVar("Answer")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "plain", configuration=gated)


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return Predictor(bundle, device="cpu")


@pytest.fixture
def instances(tmp_path: Path) -> list[Path]:
    paths = []
    for number, rows in enumerate((200, 300, 384, 400, 500)):
        paths.append(tmp_path / f"{number}.dcm")
        dataset = make_cr(rows=rows) if number % 2 else make_sc(rows=rows, columns=320 + rows)
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def of_brightness(brightness: float) -> Pixels:
    """What preprocessing gives, but of one brightness, by which the small bundle's gate goes."""
    return np.full((1, 48, 48), brightness, np.float32)


def answered(found: Sequence[Answer | NotAnalysable]) -> list[Answer]:
    """Return all of them: none may be a refusal."""
    answers = [each for each in found if not isinstance(each, NotAnalysable)]
    assert len(answers) == len(found)
    return answers


def test_the_model_is_described_as_the_metadata_say(predictor: Predictor, bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    model = predictor.model
    assert (model.name, model.version) == (metadata["name"], metadata["version"])
    assert model.weights_sha256 == metadata["weights"]["sha256"]
    assert model.calibrated
    assert model.operating_point.name == metadata["default_operating_point"]


def test_a_batch_gives_what_each_gives_alone_in_the_same_order(
    predictor: Predictor, instances: list[Path]
) -> None:
    prepared = [predictor.prepare(path) for path in instances]
    together = answered(predictor.predict(prepared))
    alone = answered([predictor.predict([one])[0] for one in prepared])
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
            assert np.array_equal(found, wanted)


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


def test_a_refusal_after_the_network_concerns_that_instance_alone(predictor: Predictor) -> None:
    batch = [of_brightness(each) for each in (0.2, 0.9, 0.4)]
    first, refused, last = predictor.predict(batch)
    assert isinstance(refused, NotAnalysable)
    assert refused.reason is Reason.NOT_CHEST
    assert isinstance(first, Prediction)
    assert isinstance(last, Prediction)
    for found, tensor in ((first, batch[0]), (last, batch[2])):
        [alone] = answered(predictor.predict([tensor]))
        assert found.probability == pytest.approx(alone.probability, abs=1e-5)
    assert first.probability != pytest.approx(last.probability, abs=1e-3)
    assert isinstance(predictor.predict([batch[1]])[0], NotAnalysable)


@pytest.mark.parametrize(
    ("probability", "finding"),
    [(0.9, Finding.PRESENT), (0.5, Finding.INDETERMINATE), (0.1, Finding.ABSENT)],
)
def test_a_region_comes_with_the_prediction_unless_there_is_nothing_in_it(
    predictor: Predictor, probability: float, finding: Finding
) -> None:
    def answer(_: dict[str, torch.Tensor]) -> dict[str, Any]:
        return {"pred": probability, "region": torch.tensor([0.25, 0, 0.5, 1])}

    changed = copy(predictor)
    changed._pipeline = replace(predictor._pipeline, postprocessing=answer)
    [found] = answered(changed.predict([of_brightness(0.2)]))
    assert found.finding is finding
    expected = Region(top=0.25, left=0, bottom=0.5, right=1)
    assert found.region == (None if finding is Finding.ABSENT else expected)


def test_a_bundle_that_gives_plain_logits_names_no_region_and_refuses_nothing(
    tmp_path: Path,
) -> None:
    plain = Predictor(make_bundle(tmp_path / "bundle"), device="cpu")
    found = answered(plain.predict([of_brightness(0.2), of_brightness(0.9)]))
    assert [each.region for each in found] == [None, None]
    assert found[0].probability != pytest.approx(found[1].probability, abs=1e-3)


def test_postprocessing_is_given_float32_on_the_cpu_for_one_instance(
    predictor: Predictor,
) -> None:
    seen, ages = [], []

    def look(outputs: dict[str, Any]) -> dict[str, Any]:
        ages.append(outputs.pop("age_years"))
        seen.append({key: (each.dtype, each.shape) for key, each in outputs.items()})
        outputs["pred"] -= outputs["pred"]  # a bundle may do so
        return {"pred": 0.5, "region": torch.tensor([0, 0, 0.5, 0.5])}

    changed = replace(predictor._pipeline, postprocessing=look)
    found = answered(changed.answer([of_brightness(0.2), of_brightness(0.9)], [3.5, None]))
    assert ages == [3.5, None]
    assert seen == [
        {
            "pred": (torch.float32, (1,)),
            "brightness": (torch.float32, ()),
            "size": (torch.float32, (2,)),
        }
    ] * len(found)
    assert {each.region for each in found} == {Region(top=0, left=0, bottom=0.5, right=0.5)}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"logit": torch.zeros(2, 1)}, 'gives logit and no "pred"'),
        ({}, 'gives nothing and no "pred"'),
        ({"pred": torch.zeros(2, 1), "map": torch.zeros(1, 9)}, 'for "map" no tensor'),
        ({"pred": torch.zeros(2, 1), "note": "a chest"}, 'for "note" no tensor'),
        (torch.tensor(0.5), 'for "pred" no tensor'),
    ],
)
def test_outputs_that_are_not_one_for_each_radiograph_are_named(
    predictor: Predictor,
    outputs: Any,  # noqa: ANN401 -- also what no inferer may give
    message: str,
) -> None:
    changed = replace(predictor._pipeline, inferer=lambda *_: outputs)
    with pytest.raises(BundleError, match=message):
        changed.answer([of_brightness(0.2), of_brightness(0.9)])


def test_an_error_without_a_known_code_stays_an_error(predictor: Predictor) -> None:
    class UnknownError(Exception):
        code = "no-such-reason"

    def fail(_: object) -> NoReturn:
        raise UnknownError

    changed = replace(predictor._pipeline, postprocessing=fail)
    with pytest.raises(UnknownError):
        changed.answer([of_brightness(0.2)])


def test_a_path_that_cannot_be_read_is_an_error_and_no_refusal(
    predictor: Predictor, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        predictor.prepare(tmp_path / "nowhere.dcm")


def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    predictor: Predictor, instances: list[Path]
) -> None:
    prepared = [predictor.prepare(path) for path in instances]
    expected = [found.probability for found in answered(predictor.predict(prepared))]
    sizes = []
    whole = predictor._pipeline.inferer

    def small(images: torch.Tensor, network: torch.nn.Module) -> Mapping[str, torch.Tensor]:
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("the card is full")
        outputs = whole(images, network)
        assert not isinstance(outputs, torch.Tensor)
        assert outputs.keys() == {"pred", "brightness", "size"}
        return outputs

    changed = replace(predictor._pipeline, inferer=small)
    found = [found.probability for found in answered(changed.answer(prepared))]
    assert found == pytest.approx(expected, abs=1e-5)
    assert sizes == [5, 2, 3, 1, 2]


def test_one_instance_that_does_not_fit_is_an_error(
    predictor: Predictor, instances: list[Path]
) -> None:
    def never(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("the card is full")

    changed = replace(predictor._pipeline, inferer=never)
    with pytest.raises(torch.OutOfMemoryError):
        changed.answer([predictor.prepare(path) for path in instances])


def test_another_operating_point_changes_the_finding_and_not_the_probability(
    instances: list[Path], tmp_path: Path
) -> None:
    def change(metadata: dict[str, Any]) -> None:
        metadata["operating_points"]["never"] = {"threshold": 1, "indeterminate": [1, 1]}
        metadata["operating_points"]["always"] = {"threshold": 0, "indeterminate": [0, 0]}

    bundle = make_bundle(tmp_path / "bundle", change)
    found = {}
    for name in ("never", "always"):
        predictor = Predictor(bundle, device="cpu", operating_point=name)
        [found[name]] = answered(predictor.predict([predictor.prepare(instances[0])]))
    assert found["never"].probability == found["always"].probability
    assert (found["never"].finding, found["always"].finding) == (Finding.ABSENT, Finding.PRESENT)


def test_an_unknown_operating_point_names_those_there_are(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"choose one of .*screening"):
        Predictor(bundle, operating_point="guess")


def test_a_folder_that_is_no_bundle_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"not a bundle.*bundle\.path"):
        Predictor(tmp_path)


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_says_what_to_set(device: str, bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.device"):
        Predictor(bundle, device=device)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda metadata: metadata["weights"].update(sha256="0" * 64), "another SHA-256"),
        (lambda metadata: metadata["weights"].update(path="models/none.pt"), "cannot be read"),
        (lambda metadata: metadata.pop("operating_points"), "operating_points"),
        (lambda metadata: metadata.pop("weights"), "weights"),
        (lambda metadata: metadata["calibration"].pop("bias"), "cannot be used"),
        (
            lambda metadata: metadata["operating_points"]["balanced"].update(threshold=7),
            "is incomplete or invalid",
        ),
    ],
    ids=["digest", "path", "no points", "no weights", "postprocessing", "threshold"],
)
def test_invalid_metadata_are_refused_in_one_line(
    tmp_path: Path, change: Change, message: str
) -> None:
    bundle = make_bundle(tmp_path / "bundle", change)
    with pytest.raises(BundleError, match=message) as refused:
        Predictor(bundle)
    assert "\n" not in str(refused.value)


def test_weights_are_not_unpickled_before_their_digest_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
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
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "configs" / name).write_text(content)
    with pytest.raises(BundleError, match=message) as refused:
        Predictor(bundle)
    assert "\n" not in str(refused.value)


def test_two_bundles_may_be_loaded_one_after_the_other(
    predictor: Predictor, instances: list[Path], tmp_path: Path
) -> None:
    other = Predictor(make_bundle(tmp_path / "bundle"), device="cpu")
    assert np.array_equal(other.prepare(instances[0]), predictor.prepare(instances[0]))
