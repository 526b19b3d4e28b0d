"""A bundle with populations in the service: which finding is reported, and which is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.foreign_bundle import by_age, gated, make_bundle, populated

from service.domain.reasons import Reason
from service.settings import BundleSettings
from workers.inference.predictor import BundleError, Predictor, load_predictor
from workers.prediction import Finding, NotAnalysable, Prediction

# MONAI's readers warn about a missing orientation and a decoder that is not installed
pytestmark = pytest.mark.filterwarnings("ignore:PydicomReader", "ignore:NvImgCodecPydicomReader")

IMAGE = np.full((1, 48, 48), 0.3, np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "aged", populated, by_age)


def test_each_of_a_batch_is_read_in_its_own_population(bundle: Path) -> None:
    predictor = Predictor(bundle, device="cpu")
    young, old, unknown = predictor.predict([IMAGE] * 3, [4.0, 40.0, None])
    assert isinstance(young, Prediction)
    assert isinstance(unknown, Prediction)
    assert young.probability == pytest.approx(unknown.probability, abs=1e-5)
    assert (young.population, unknown.population) == ("young", "unknown")
    assert young.finding is Finding.INDETERMINATE, "the band of the young is all there is"
    assert unknown.finding is not Finding.INDETERMINATE
    assert young.model.operating_point.threshold == 0.4
    assert unknown.model.operating_point == predictor.model.operating_point
    assert young.model.calibrated
    assert not unknown.model.calibrated
    assert isinstance(old, NotAnalysable)
    assert (old.reason, old.population) == (Reason.POPULATION, "old")


def test_the_number_of_another_abnormality_is_read_at_its_own_operating_point(
    bundle: Path,
) -> None:
    [found] = Predictor(bundle, device="cpu", operating_point="screening").predict([IMAGE], [4.0])
    assert isinstance(found, Prediction)
    assert found.other is not None
    assert found.other.probability == pytest.approx(0.3)
    assert found.other.finding is Finding.PRESENT
    assert (found.other.operating_point.name, found.other.operating_point.threshold) == (
        "screening",
        0.2,
    )


def test_a_setting_reports_a_population_that_is_not_validated(bundle: Path) -> None:
    settings = BundleSettings(path=bundle, device="cpu", report_populations=["old"])
    [found] = load_predictor(settings).predict([IMAGE], [40.0])
    assert isinstance(found, Prediction)
    assert found.population == "old"


def test_without_ages_every_patient_is_of_the_population_for_an_unknown_age(bundle: Path) -> None:
    found = Predictor(bundle, device="cpu").predict([IMAGE] * 2)
    assert [each.population for each in found] == ["unknown"] * 2


def test_a_bundle_that_describes_none_is_read_as_before_whatever_it_names(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", configuration=by_age)
    predictor = Predictor(bundle, device="cpu")
    [found] = predictor.predict([IMAGE], [40.0])
    assert isinstance(found, Prediction)
    assert (found.model, found.population, found.other) == (predictor.model, None, None)


@pytest.mark.parametrize("names_others", [True, False])
def test_a_population_that_the_metadata_do_not_have_is_an_error(
    tmp_path: Path, *, names_others: bool
) -> None:
    def describe_others(metadata: dict[str, Any]) -> None:
        populated(metadata)
        metadata["populations"]["elders"] = metadata["populations"].pop("old")

    bundle = make_bundle(
        tmp_path / "bundle",
        describe_others if names_others else populated,
        by_age if names_others else gated,
    )
    with pytest.raises(BundleError, match=r'for "population": let it give one of the metadata'):
        Predictor(bundle, device="cpu").predict([IMAGE], [40.0])


def test_an_other_output_that_is_no_single_number_is_no_probability(tmp_path: Path) -> None:
    """A bundle from before may mean something else by the same key."""

    def give_size(configuration: dict[str, Any]) -> None:
        gated(configuration)
        configuration["postprocessing"]["transforms"].append(
            {"_target_": "Lambda", "func": "$lambda found: {**found, 'other': found['size']}"}
        )

    [found] = Predictor(make_bundle(tmp_path / "bundle", configuration=give_size)).predict([IMAGE])
    assert isinstance(found, Prediction)
    assert found.other is None


def test_as_many_ages_as_radiographs_are_needed(bundle: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        Predictor(bundle, device="cpu").predict([IMAGE] * 2, [4.0])
