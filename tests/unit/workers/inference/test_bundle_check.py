"""What `lobar check` says of a bundle: all that it lacks, not only the first thing."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign_bundle import Change, gated, make_bundle, unchanged

from service.settings import BundleSettings
from workers.inference.bundle_check import inspect

WELL, NOTE, WRONG = range(3)
Say = Callable[..., dict[int, list[str]]]

# MONAI's readers miss the orientation that no radiograph has, and a decoder that is not installed
pytestmark = pytest.mark.filterwarnings("ignore:PydicomReader", "ignore:NvImgCodecPydicomReader")


@pytest.fixture
def say(tmp_path: Path) -> Say:
    """Give what is said of a bundle, by severity."""

    def run(
        metadata: Change = unchanged, configuration: Change = unchanged, **settings: object
    ) -> dict[int, list[str]]:
        bundle = make_bundle(tmp_path / "bundle", metadata, configuration)
        return said_of(bundle, **settings)

    return run


def said_of(bundle: Path, **settings: object) -> dict[int, list[str]]:
    found = inspect(BundleSettings(path=bundle, device="cpu", **settings))
    assert {each.subject for each in found} == {"bundle"}
    assert all("\n" not in each.message for each in found)
    assert len(found) == len(set(found))
    return {
        severity: [each.message for each in found if each.severity == severity]
        for severity in (WELL, NOTE, WRONG)
    }


def set_section(key: str, value: object) -> Change:
    return lambda configuration: configuration.update({key: value})


def ends_with(**transform: object) -> Change:
    """Let postprocessing end with one more transform."""
    return lambda configuration: configuration["postprocessing"]["transforms"].append(transform)


def test_a_bundle_of_somebody_elses_passes_and_what_it_cannot_do_is_worth_knowing(say: Say) -> None:
    said = say()
    assert said[WRONG] == []
    [well] = said[WELL]
    assert well.startswith(
        "elsewhere_pneumonia 3.1 on cpu, operating point balanced at 0.500; of 2 drawn radiographs "
        "it gives the probability 0."
    )
    assert [message.split(":")[0] for message in said[NOTE]] == [
        "it does not heed MONOCHROME1",
        "it has no gate",
        "it names no region",
    ]


def test_a_bundle_with_a_gate_and_regions_is_said_to_lack_neither(say: Say) -> None:
    said = say(configuration=lambda each: gated(each, limit=0.48))
    assert said[WRONG] == []
    assert [message.split(":")[0] for message in said[NOTE]] == ["it does not heed MONOCHROME1"]


def test_a_bundle_that_names_no_region_of_what_is_healthy_is_not_said_to_name_none(
    say: Say,
) -> None:
    def keep_still(configuration: dict[str, Any]) -> None:
        gated(configuration, limit=0.48)
        configuration["postprocessing"]["transforms"].append(
            {"_target_": "Lambda", "func": "$lambda found: {**found, 'region': None}"}
        )

    said = say(configuration=keep_still)
    assert said[WRONG] == []
    assert not any("region" in message for message in said[NOTE])


def test_another_operating_point_of_the_bundle_may_be_chosen(say: Say) -> None:
    said = say(
        lambda metadata: metadata.pop("default_operating_point"), operating_point="screening"
    )
    assert said[WRONG] == []
    assert "operating point screening at 0.200" in said[WELL][0]


def test_a_refusal_of_a_drawn_radiograph_is_a_fair_answer_and_is_told(say: Say) -> None:
    said = say(configuration=lambda each: gated(each, limit=0, code="unlike-training-images"))
    assert said[WRONG] == []
    assert said[WELL][0].endswith("of 2 drawn radiographs it refuses as unlike-training-images")


def test_a_refusal_before_the_network_is_as_fair(say: Say) -> None:
    def refuse_all(configuration: dict[str, Any]) -> None:
        gated(configuration)
        configuration["preprocessing"]["transforms"].insert(
            1, {"_target_": "Lambdad", "keys": "image", "func": "$lambda image: image * 0"}
        )

    said = say(configuration=refuse_all)
    assert said[WRONG] == []
    assert said[WELL][0].endswith("it refuses as blank-image")


def test_a_refusal_with_a_code_that_nobody_knows_is_a_fault(say: Say) -> None:
    said = say(configuration=lambda each: gated(each, limit=0, code="too-foggy"))
    assert len(said[WRONG]) == 1
    assert "the code 'too-foggy', which Lobar does not know" in said[WRONG][0]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda metadata: metadata.pop("name"), 'lacks "name"'),
        (lambda metadata: metadata.update(version=""), 'lacks "version"'),
        (lambda metadata: metadata.pop("weights"), 'lacks "weights": {"sha256": …}'),
        (lambda metadata: metadata["weights"].pop("path"), 'lacks "weights": {"path": …}'),
        (lambda metadata: metadata["weights"].update(path="none.pt"), "none.pt cannot be read"),
        (lambda metadata: metadata["weights"].update(sha256="0" * 64), "another SHA-256"),
        (lambda metadata: metadata["calibration"].pop("method"), 'lacks "calibration": {"method"'),
        (lambda metadata: metadata.pop("operating_points"), 'lacks "operating_points"'),
        (lambda metadata: metadata.update(operating_points=[]), 'lacks "operating_points"'),
        (
            lambda metadata: metadata["operating_points"]["screening"].pop("threshold"),
            'lacks a "threshold" for the operating point screening',
        ),
        (
            lambda metadata: metadata["operating_points"]["balanced"].update(indeterminate=[0.5]),
            'lacks "indeterminate": [low, high] for the operating point balanced',
        ),
        (
            lambda metadata: metadata["operating_points"]["balanced"].update(threshold=0.9),
            "has for the operating point balanced a band that does not hold its threshold",
        ),
        (lambda metadata: metadata["operating_points"].update(odd=7), 'lacks a "threshold" for'),
        (
            lambda metadata: metadata.pop("default_operating_point"),
            'lacks "default_operating_point", and bundle.operating_point is not set',
        ),
        (
            lambda metadata: metadata.update(default_operating_point="guess"),
            "has no operating point 'guess', which default_operating_point names: choose one of",
        ),
    ],
)
def test_each_lack_of_the_metadata_is_named(say: Say, change: Change, fault: str) -> None:
    said = say(change)
    assert any(fault in message for message in said[WRONG]), said[WRONG]
    assert said[WELL] == []


def test_an_operating_point_that_the_settings_name_and_the_bundle_lacks_is_told(say: Say) -> None:
    said = say(operating_point="guess")
    [fault] = said[WRONG]
    assert "has no operating point 'guess', which bundle.operating_point names" in fault
    assert fault.endswith("choose one of balanced, screening")


@pytest.mark.parametrize("key", ["preprocessing", "network_def", "inferer", "postprocessing"])
def test_each_section_that_the_configuration_lacks_is_named(say: Say, key: str) -> None:
    said = say(configuration=lambda configuration: configuration.pop(key))
    assert said[WRONG] == [f"configs/inference.yaml lacks {key}"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (set_section("network_def", 1), "network_def makes no torch.nn.Module"),
        (
            set_section("preprocessing", {"_target_": "SimpleInferer"}),
            "preprocessing is no Compose",
        ),
        (set_section("inferer", {"_target_": "NoSuchInferer"}), "inferer cannot be made"),
        (set_section("postprocessing", 7), "postprocessing makes nothing that can be called"),
        (
            lambda configuration: configuration["network_def"].update(growth_rate=3),
            "do not fit network_def (RuntimeError",
        ),
        (
            lambda configuration: configuration["preprocessing"]["transforms"].pop(),
            "preprocessing gives tensors of 1 x 300 x 400 and 1 x 420 x 360",
        ),
        (
            lambda configuration: configuration["preprocessing"]["transforms"].insert(
                0, {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True}
            ),
            "preprocessing fails on a drawn radiograph",
        ),
        (
            lambda configuration: configuration["preprocessing"]["transforms"][0][
                "transforms"
            ].pop(),
            "gives values from 26 to 255",
        ),
        (
            lambda configuration: configuration["preprocessing"]["transforms"][0][
                "transforms"
            ].append({"_target_": "Transposed", "keys": "image", "indices": [0, 2, 1]}),
            "gives 360 x 420 for 420 x 360 rows by columns",
        ),
        (
            lambda configuration: configuration["postprocessing"]["transforms"].pop(),
            "which is no probability: let it end with a sigmoid",
        ),
        (set_section("inferer", "$lambda images, network: {'logit': network(images)}"), '"pred"'),
        (set_section("inferer", "$lambda images, network: network(images)[0]"), "batch first"),
        (
            set_section(
                "inferer", "$lambda images, network: network(images) - network(images).mean()"
            ),
            "gives a radiograph alone another answer than in a batch",
        ),
        (
            ends_with(_target_="Lambdad", keys="pred", func="$lambda p: torch.rand(1)"),
            "gives one radiograph two answers when asked twice",
        ),
        (
            ends_with(_target_="Lambda", func="$lambda found: {**found, 'region': [0, 0, 9, 9]}"),
            "is no region of a radiograph",
        ),
    ],
)
def test_each_thing_that_the_configuration_does_wrong_is_named(
    say: Say, change: Change, fault: str
) -> None:
    said = say(configuration=change)
    assert any(fault in message for message in said[WRONG]), said[WRONG]
    assert said[WELL] == []


def test_all_that_is_wrong_is_told_at_once(say: Say) -> None:
    def spoil(configuration: dict[str, Any]) -> None:
        configuration["postprocessing"]["transforms"].pop()

    def forget(metadata: dict[str, Any]) -> None:
        metadata.pop("version")
        metadata["calibration"].pop("method")

    said = say(forget, spoil)
    assert [message.split(":")[0] for message in said[WRONG][:2]] == [
        'configs/metadata.json lacks "version"',
        'configs/metadata.json lacks "calibration"',
    ]
    assert all("which is no probability" in message for message in said[WRONG][2:])
    assert len(said[WRONG]) > 2


def test_a_device_that_is_not_there_does_not_hide_what_else_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bundle = make_bundle(tmp_path / "bundle", configuration=lambda each: each.pop("inferer"))
    found = inspect(BundleSettings(path=bundle, device="cuda"))
    assert [each.message for each in found if each.severity == WRONG] == [
        "no CUDA device is available: set bundle.device to auto or cpu",
        "configs/inference.yaml lacks inferer",
    ]


def test_weights_that_hold_code_are_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Boom:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("boom",)

    weights = tmp_path / "code.pt"
    torch.save(Boom(), weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    bundle = make_bundle(
        tmp_path / "bundle",
        lambda metadata: metadata.update(weights={"path": str(weights), "sha256": digest}),
    )
    [fault] = said_of(bundle)[WRONG]
    assert "do not load with weights_only=True" in fault
    assert "boom" not in capsys.readouterr().out


def test_what_is_missing_on_the_metadata_s_side_of_honesty_is_worth_knowing(say: Say) -> None:
    def be_silent(metadata: dict[str, Any]) -> None:
        metadata.pop("intended_use")
        metadata["calibration"]["method"] = "none"
        metadata["operating_points"]["screening"].pop("specificity")
        metadata["operating_points"]["balanced"] = {"threshold": 0.5, "indeterminate": [0.5, 0.5]}

    said = say(be_silent)
    assert said[WRONG] == []
    assert said[NOTE][:4] == [
        "its probabilities are not calibrated, and its reports say so",
        "its operating point balanced states no sensitivity and no specificity",
        "its operating point screening states no specificity",
        'configs/metadata.json has no "intended_use": nobody can tell what the model is for',
    ]


def test_a_folder_with_half_a_bundle_names_the_half_that_is_missing(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "configs" / "inference.yaml").unlink()
    [fault] = said_of(bundle)[WRONG]
    assert "configs/inference.yaml cannot be read" in fault
    other = make_bundle(tmp_path / "other", configuration=lambda each: each.pop("inferer"))
    (other / "configs" / "metadata.json").write_text(json.dumps([1]))
    faults = said_of(other)[WRONG]
    assert "does not hold a JSON object" in faults[0]
    assert "configs/inference.yaml lacks inferer" in faults
