"""The operating points of a bundle's populations, and the faults that they may have."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import pytest

from workers.inference.bundle import BundleError, describe, describe_populations
from workers.inference.operating_points import population_faults, unknown_choice
from workers.prediction import Finding

Change = Callable[[dict[str, Any]], object]
POINTS: Final = {
    "balanced": {"threshold": 0.5, "indeterminate": [0.4, 0.6]},
    "screening": {"threshold": 0.2, "indeterminate": [0.2, 0.2]},
}
OF_CHILDREN: Final = {
    "balanced": {"threshold": 0.7, "indeterminate": [0.65, 0.75]},
    "screening": {"threshold": 0.3, "indeterminate": [0.3, 0.3]},
}
OTHER: Final = {"calibration": {"method": "platt"}, "operating_points": POINTS}


def described() -> dict[str, Any]:
    """Return metadata with populations, one with values of its own and one without any."""
    return deepcopy(
        {
            "name": "m",
            "version": "1",
            "weights": {"path": "model.pt", "sha256": "0" * 64},
            "calibration": {"method": "platt"},
            "operating_points": POINTS,
            "default_operating_point": "balanced",
            "other_abnormality": OTHER,
            "populations": {
                "children": {
                    "years": [1, 6],
                    "validated": True,
                    "calibration": {"method": "none"},
                    "operating_points": OF_CHILDREN,
                    "other_abnormality": {"operating_points": OF_CHILDREN},
                },
                "adults": {"years": [18, None], "validated": False},
                "unknown": {"years": None, "validated": True},
            },
        }
    )


def test_a_population_is_read_at_its_own_operating_point_and_what_it_lacks_is_the_bundles() -> None:
    metadata = described()
    model = describe(metadata, "screening")
    found = describe_populations(metadata, model, ())
    assert list(found) == ["children", "adults", "unknown"]
    children, adults = found["children"], found["adults"]
    assert children.model.operating_point.threshold == 0.3
    assert children.other is not None
    assert children.other.threshold == 0.3
    assert not children.model.calibrated
    assert adults.model == model
    assert adults.model.operating_point.read(0.25) is Finding.PRESENT
    assert adults.other is not None
    assert (adults.other.name, adults.other.threshold) == ("screening", 0.2)
    assert [each.is_reported for each in found.values()] == [True, False, True]


def test_a_bundle_without_populations_reads_everybody_alike() -> None:
    metadata = described()
    del metadata["populations"], metadata["other_abnormality"]
    model = describe(metadata, None)
    found = describe_populations(metadata, model, ())
    assert list(found) == [None]
    everybody = found[None]
    assert (everybody.model, everybody.other) == (model, None)
    assert everybody.is_reported


def test_a_population_that_a_setting_names_is_reported() -> None:
    metadata = described()
    found = describe_populations(metadata, describe(metadata, None), ("adults", "children"))
    assert all(each.is_reported for each in found.values())


def test_a_setting_with_an_unknown_population_says_which_there_are() -> None:
    metadata = described()
    with pytest.raises(BundleError) as refused:
        describe_populations(metadata, describe(metadata, None), ("adults", "elders"))
    assert str(refused.value) == (
        "the bundle has no population 'elders', which bundle.report_populations names: "
        "choose of children, adults, unknown"
    )
    del metadata["populations"]
    fault = unknown_choice(metadata, ("adults",))
    assert fault is not None
    assert fault.endswith("names: it has none")


def test_valid_metadata_have_no_fault() -> None:
    assert list(population_faults(described())) == []
    assert list(population_faults({"operating_points": POINTS})) == []


def entry(**values: object) -> Change:
    return lambda metadata: metadata["populations"]["children"].update(values)


def without(key: str) -> Change:
    return lambda metadata: metadata["populations"]["children"].pop(key)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda metadata: metadata.update(populations=[]), 'has "populations" that are not'),
        (lambda metadata: metadata["populations"].update(odd=7), 'has "populations" that are not'),
        (lambda metadata: metadata["populations"].pop("unknown"), 'has 0 populations with "years"'),
        (entry(years=None), 'has 2 populations with "years": null'),
        (without("years"), 'lacks "years": [from, before], [from, null] or null of the population'),
        (entry(years=[6, 1]), 'lacks "years"'),
        (entry(years=[1]), 'lacks "years"'),
        (entry(years="1-5"), 'lacks "years"'),
        (entry(years=[-1, 5]), 'lacks "years"'),
        (entry(years=[1, True]), 'lacks "years"'),
        (entry(years=[1, float("nan")]), 'lacks "years"'),
        (entry(years=[1, 18.5]), "has populations that overlap in years: children and adults"),
        (entry(years=[30, None]), "has populations that overlap in years: children and adults"),
        (without("validated"), 'lacks "validated": true or false of the population children'),
        (entry(validated="yes"), 'lacks "validated"'),
        (entry(calibration={}), 'lacks "calibration": {"method": …} of the population children'),
        (entry(operating_points={}), 'lacks "operating_points"'),
        (
            entry(operating_points={"balanced": POINTS["balanced"]}),
            "lacks the operating point screening of the population children",
        ),
        (
            entry(
                operating_points=POINTS | {"balanced": {"threshold": 0.9, "indeterminate": [0, 0]}}
            ),
            "has an operating point balanced of the population children whose band excludes",
        ),
        (
            entry(operating_points=POINTS | {"balanced": {"indeterminate": [0, 0]}}),
            'lacks a "threshold" for the operating point balanced of the population children',
        ),
        (
            entry(other_abnormality={"operating_points": []}),
            'lacks "operating_points": {NAME: {"threshold": …, "indeterminate": [low, high]}} of a',
        ),
        (
            lambda metadata: metadata.update(other_abnormality=7),
            'lacks "calibration": {"method": …} of another abnormality',
        ),
        (
            lambda metadata: metadata["other_abnormality"].pop("operating_points"),
            'lacks "operating_points"',
        ),
        (
            lambda metadata: metadata["populations"].update({"the old": {"years": [6, 7]}}),
            "has a population 'the old': name it in up to 32 letters",
        ),
    ],
)
def test_each_fault_is_named_and_refused_in_one_line(change: Change, fault: str) -> None:
    metadata = described()
    change(metadata)
    faults = list(population_faults(metadata))
    assert any(each.startswith(fault) for each in faults), faults
    with pytest.raises(BundleError) as refused:
        describe_populations(metadata, describe(metadata, None), ())
    assert str(refused.value) == f"configs/metadata.json {faults[0]}"
    assert "\n" not in str(refused.value)
