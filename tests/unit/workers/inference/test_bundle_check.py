"""The results of `lobar check` on a bundle: all its faults, not only the first."""

import hashlib
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign_bundle import Change, by_age, gated, make_bundle, populated, unchanged

from service.settings import BundleSettings
from workers.inference.bundle_check import inspect

OK, NOTE, ERROR = range(3)
Check = Callable[..., dict[int, list[str]]]

# MONAI's readers warn about a missing orientation and a decoder that is not installed
pytestmark = pytest.mark.filterwarnings("ignore:PydicomReader", "ignore:NvImgCodecPydicomReader")


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """`check(...)` returns the messages about a bundle, by severity."""
    numbers = count()

    def run(
        metadata: Change = unchanged, configuration: Change = unchanged, **settings: object
    ) -> dict[int, list[str]]:
        bundle = make_bundle(tmp_path / str(next(numbers)), metadata, configuration)
        return results_of(bundle, **settings)

    return run


def results_of(bundle: Path, **settings: object) -> dict[int, list[str]]:
    found = inspect(BundleSettings(path=bundle, device="cpu", **settings))
    assert {each.subject for each in found} == {"bundle"}
    assert all("\n" not in each.message for each in found)
    assert len(found) == len(set(found))
    return {
        severity: [each.message for each in found if each.severity == severity]
        for severity in (OK, NOTE, ERROR)
    }


def set_section(key: str, value: object) -> Change:
    return lambda configuration: configuration.update({key: value})


def ends_with(**transform: object) -> Change:
    """Let postprocessing end with one more transform."""
    return lambda configuration: configuration["postprocessing"]["transforms"].append(transform)


def test_a_foreign_bundle_passes_with_notes_on_what_it_does_without(check: Check) -> None:
    found = check()
    assert found[ERROR] == []
    [summary] = found[OK]
    assert summary.startswith(
        "elsewhere_pneumonia 3.1 on cpu, operating point balanced at 0.500; of 2 drawn radiographs "
        "it gives the probability 0."
    )
    assert [message.split(":")[0] for message in found[NOTE]] == [
        "it does not heed MONOCHROME1",
        "it has no gate",
        "it names no region",
    ]


def test_a_bundle_with_a_gate_and_regions_gets_no_note_about_them(check: Check) -> None:
    found = check(configuration=lambda each: gated(each, limit=0.48))
    assert found[ERROR] == []
    assert [message.split(":")[0] for message in found[NOTE]] == ["it does not heed MONOCHROME1"]


def test_a_bundle_without_regions_for_healthy_lungs_gets_no_note_about_regions(
    check: Check,
) -> None:
    def name_no_region(configuration: dict[str, Any]) -> None:
        gated(configuration, limit=0.48)
        configuration["postprocessing"]["transforms"].append(
            {"_target_": "Lambda", "func": "$lambda found: {**found, 'region': None}"}
        )

    found = check(configuration=name_no_region)
    assert found[ERROR] == []
    assert not any("region" in message for message in found[NOTE])


def test_another_operating_point_of_the_bundle_may_be_chosen(check: Check) -> None:
    found = check(
        lambda metadata: metadata.pop("default_operating_point"), operating_point="screening"
    )
    assert found[ERROR] == []
    assert "operating point screening at 0.200" in found[OK][0]


def test_a_refusal_of_a_drawn_radiograph_is_acceptable_and_is_reported(check: Check) -> None:
    found = check(configuration=lambda each: gated(each, limit=0, code="unlike-training-images"))
    assert found[ERROR] == []
    assert found[OK][0].endswith("of 2 drawn radiographs it refuses as unlike-training-images")


def test_a_refusal_before_the_network_is_acceptable_too(check: Check) -> None:
    def refuse_all(configuration: dict[str, Any]) -> None:
        gated(configuration)
        configuration["preprocessing"]["transforms"].insert(
            1, {"_target_": "Lambdad", "keys": "image", "func": "$lambda image: image * 0"}
        )

    found = check(configuration=refuse_all)
    assert found[ERROR] == []
    assert found[OK][0].endswith("it refuses as blank-image")


def test_a_refusal_with_an_unknown_code_is_an_error(check: Check) -> None:
    found = check(configuration=lambda each: gated(each, limit=0, code="too-foggy"))
    assert len(found[ERROR]) == 1
    assert "the code 'too-foggy', which Lobar does not know" in found[ERROR][0]


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
            "has an operating point balanced whose band excludes its threshold",
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
def test_each_fault_of_the_metadata_is_named(check: Check, change: Change, fault: str) -> None:
    found = check(change)
    assert any(fault in message for message in found[ERROR]), found[ERROR]
    assert found[OK] == []


def test_an_operating_point_of_the_settings_that_the_bundle_lacks_is_an_error(check: Check) -> None:
    found = check(operating_point="guess")
    [fault] = found[ERROR]
    assert "has no operating point 'guess', which bundle.operating_point names" in fault
    assert fault.endswith("choose one of balanced, screening")


@pytest.mark.parametrize("key", ["preprocessing", "network_def", "inferer", "postprocessing"])
def test_each_section_that_the_configuration_lacks_is_named(check: Check, key: str) -> None:
    found = check(configuration=lambda configuration: configuration.pop(key))
    assert found[ERROR] == [f"configs/inference.yaml lacks {key}"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (set_section("network_def", 1), "network_def is not a torch.nn.Module"),
        (
            set_section("preprocessing", {"_target_": "SimpleInferer"}),
            "preprocessing is not a Compose",
        ),
        (set_section("inferer", {"_target_": "NoSuchInferer"}), "inferer cannot be built"),
        (set_section("postprocessing", 7), "postprocessing is not callable"),
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
            "gives another output for a radiograph alone than in a batch",
        ),
        (
            ends_with(_target_="Lambdad", keys="pred", func="$lambda p: torch.rand(1)"),
            "gives two outputs for one radiograph that is read twice",
        ),
        (
            ends_with(_target_="Lambda", func="$lambda found: {**found, 'region': [0, 0, 9, 9]}"),
            "is no region of a radiograph",
        ),
    ],
)
def test_each_fault_of_the_configuration_is_named(check: Check, change: Change, fault: str) -> None:
    found = check(configuration=change)
    assert any(fault in message for message in found[ERROR]), found[ERROR]
    assert found[OK] == []


def test_all_faults_are_reported_at_once(check: Check) -> None:
    def spoil(configuration: dict[str, Any]) -> None:
        configuration["postprocessing"]["transforms"].pop()

    def forget(metadata: dict[str, Any]) -> None:
        metadata.pop("version")
        metadata["calibration"].pop("method")

    found = check(forget, spoil)
    assert [message.split(":")[0] for message in found[ERROR][:2]] == [
        'configs/metadata.json lacks "version"',
        'configs/metadata.json lacks "calibration"',
    ]
    assert all("which is no probability" in message for message in found[ERROR][2:])
    assert len(found[ERROR]) > 2


def test_a_missing_device_does_not_hide_other_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bundle = make_bundle(tmp_path / "bundle", configuration=lambda each: each.pop("inferer"))
    found = inspect(BundleSettings(path=bundle, device="cuda"))
    assert [each.message for each in found if each.severity == ERROR] == [
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
    [fault] = results_of(bundle)[ERROR]
    assert "do not load with weights_only=True" in fault
    assert "boom" not in capsys.readouterr().out


def test_metadata_without_figures_calibration_or_intended_use_get_notes(check: Check) -> None:
    def omit(metadata: dict[str, Any]) -> None:
        metadata.pop("intended_use")
        metadata["calibration"]["method"] = "none"
        metadata["operating_points"]["screening"].pop("specificity")
        metadata["operating_points"]["balanced"] = {"threshold": 0.5, "indeterminate": [0.5, 0.5]}

    found = check(omit)
    assert found[ERROR] == []
    assert found[NOTE][:4] == [
        "its probabilities are not calibrated, and its reports say so",
        "its operating point balanced states no sensitivity and no specificity",
        "its operating point screening states no specificity",
        'configs/metadata.json has no "intended_use", which says what the model is for',
    ]


def test_a_folder_with_half_a_bundle_names_the_half_that_is_missing(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "configs" / "inference.yaml").unlink()
    [fault] = results_of(bundle)[ERROR]
    assert "configs/inference.yaml cannot be read" in fault
    other = make_bundle(tmp_path / "other", configuration=lambda each: each.pop("inferer"))
    (other / "configs" / "metadata.json").write_text(json.dumps([1]))
    faults = results_of(other)[ERROR]
    assert "does not hold a JSON object" in faults[0]
    assert "configs/inference.yaml lacks inferer" in faults


def test_a_bundle_with_populations_says_which_are_not_analysed(check: Check) -> None:
    found = check(populated, by_age)
    assert found[ERROR] == []
    [summary] = found[OK]
    assert summary.endswith("; not validated for old, which are not analysed")
    assert not any("validated" in message for message in found[NOTE])
    found = check(populated, by_age, report_populations=["old"])
    assert found[ERROR] == []
    assert any("not validated for old, and reports them" in message for message in found[NOTE])
    assert "validated" not in found[OK][0]


def test_a_population_of_the_settings_that_the_bundle_lacks_is_an_error(check: Check) -> None:
    found = check(populated, by_age, report_populations=["elders"])
    [fault] = found[ERROR]
    assert "no population 'elders', which bundle.report_populations names: choose of young" in fault


def test_every_fault_of_populations_is_listed(check: Check) -> None:
    def spoil(metadata: dict[str, Any]) -> None:
        populated(metadata)
        del metadata["populations"]["young"]["validated"]
        metadata["populations"]["old"]["years"] = [17, 120]
        metadata["other_abnormality"].pop("operating_points")

    faults = check(spoil, by_age)[ERROR]
    assert any(
        'lacks "validated": true or false of the population young' in each for each in faults
    )
    assert any("populations that overlap in years: young and old" in each for each in faults)
    assert any('"operating_points"' in each for each in faults)


def test_a_bundle_that_names_another_population_for_an_age_is_an_error(check: Check) -> None:
    found = check(populated, lambda each: by_age(each, limit=6))
    assert found[ERROR] == []  # of the ages that populations begin with, none lies between
    found = check(populated, lambda each: by_age(each, limit=60))
    assert [message[:60] for message in found[ERROR]] == [
        "postprocessing gives the population 'young' for the age 18.0"
    ]


def test_another_abnormality_that_is_described_and_not_given_is_an_error(check: Check) -> None:
    def leave_out_other(configuration: dict[str, Any]) -> None:
        by_age(configuration)
        configuration["postprocessing"]["transforms"].append(
            {"_target_": "Lambda", "func": "$lambda found: {**found, 'other': None}"}
        )

    def only_of_the_old(metadata: dict[str, Any]) -> None:
        populated(metadata)
        metadata["populations"]["old"]["other_abnormality"] = metadata.pop("other_abnormality")

    for described in (populated, only_of_the_old):
        assert [each[:40] for each in check(described, leave_out_other)[ERROR]] == [
            'postprocessing gives None for "other", w'
        ]
