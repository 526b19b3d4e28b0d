"""Choose calibration, operating points and bands for each population.

Run `python -m scripts.evaluation.populations` from the bundle's folder, once docs/predictions has
validation.csv and measuring.csv of the shipped weights, and cross_validation.csv, members.csv and
out_of_source.csv of the trainings. Writes into configs/metadata.json: `populations`, each with what
it is `validated` by and, where there are films of one, its `other_abnormality`; and, for an age
that is not known and for the populations without data, the cautious reading as `calibration` and
`operating_points`. The test splits choose nothing: their tables are not read.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from scripts.bundle.files import METADATA, write_metadata
from scripts.data.categories import Category
from scripts.data.predictions import Results
from scripts.evaluation.inputs import MEMBERS, OUT_OF_FOLD, OUT_OF_SOURCE, Inputs
from scripts.evaluation.platt_scaling import apply_platt
from scripts.evaluation.populations.cautious import cautious
from scripts.evaluation.populations.evidence import chosen_on
from scripts.evaluation.populations.findings import count_findings, share
from scripts.evaluation.populations.names import CHOSEN_ON, COHORTS, YEARS, Population
from scripts.evaluation.populations.points import BALANCED, OTHER_RULES, RULES, choose
from scripts.evaluation.populations.validated import (
    Evidence,
    conclusion,
    of_adults,
    of_children,
    of_unknown,
)

REQUIREMENTS: Final = {Population.CHILDREN: of_children, Population.ADULTS: of_adults}
OTHER: Final = "other_abnormality"
NO_DATA: Final = "No radiograph of a patient of this age was trained or measured on."


def choose_populations(inputs: Inputs) -> dict[str, Any]:
    """Return the metadata with all that the tables choose.

    Raises:
        ValueError: a table or a kind of film is missing.
    """
    validation, out_of_fold, members = (
        _required(inputs, name) for name in ("validation", OUT_OF_FOLD, MEMBERS)
    )
    films = {name: chosen_on(name, validation, out_of_fold, members) for name in COHORTS}
    chosen = {name: _chosen(name, films[name]) for name in COHORTS}
    entries: dict[str, Any] = {
        name: {**_validated(inputs, name, entry), **entry} for name, entry in chosen.items()
    }
    unknown = cautious(list(chosen.values()), [each.labelled() for each in films.values()])
    entries[Population.UNKNOWN] = {**_validated_without_age(films, unknown), **unknown}
    if other := _other_without_age(chosen, films):
        entries[Population.UNKNOWN][OTHER] = other
    for name in (Population.INFANTS, Population.SCHOOL_CHILDREN):
        entries[name] = {"validated": False, "reason": NO_DATA}
    return {
        **{name: value for name, value in inputs.metadata.items() if name != OTHER},
        **unknown,
        "default_operating_point": BALANCED,
        "populations": {name.value: {"years": YEARS[name], **entries[name]} for name in Population},
    }


def _validated(inputs: Inputs, population: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return `validated` and `reason` of a population with operating points of its own."""
    evidence = Evidence(
        out_of_fold=_out_of_fold(inputs, population),
        out_of_source=_calibrated(inputs, OUT_OF_SOURCE, population, entry),
        measuring=_calibrated(inputs, "measuring", population, entry),
    )
    point = entry["operating_points"][BALANCED]
    return conclusion(REQUIREMENTS[Population(population)](evidence, point))


def _validated_without_age(
    films: Mapping[str, Results], unknown: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `validated` and `reason` of the cautious reading."""
    calibration = unknown["calibration"]
    read = {
        name: apply_platt(each, calibration["temperature"], calibration["bias"])
        for name, each in films.items()
    }
    return conclusion(of_unknown(read, unknown["operating_points"][BALANCED]))


def _other_without_age(
    chosen: Mapping[str, Mapping[str, Any]], films: Mapping[str, Results]
) -> Mapping[str, Any] | None:
    """Return the adults' entry if it names few films of the others; None if it does not.

    No child has a known other abnormality: of them only the false alarms can be measured, on normal
    films and on those with pneumonia.
    """
    entry: Mapping[str, Any] | None = chosen[Population.ADULTS].get(OTHER)
    if not entry:
        return None
    for name, results in films.items():
        asked = apply_platt(
            replace(results, logits=results.others),
            entry["calibration"]["temperature"],
            entry["calibration"]["bias"],
        )
        counts = count_findings(asked, entry["operating_points"][BALANCED])
        asked_of = [Category.NORMAL, *[Category.OPACITY] * (name == Population.CHILDREN)]
        alarms = [share(counts, each, "present") for each in asked_of]
        if any(each is None or each > OTHER_RULES.most_false_alarms for each in alarms):
            return None
    return entry


def _chosen(population: str, films: Results) -> dict[str, Any]:
    source = CHOSEN_ON[population]
    evidence = f"{source}: validation by the ensemble, folds out of fold at its scale"
    entry = choose(films.labelled(), RULES[population], evidence=evidence)
    asked = films.about_other()
    if (asked.labels == 1).any() and (asked.labels == 0).any():
        entry[OTHER] = choose(asked, OTHER_RULES, evidence=evidence)
    return entry


def _out_of_fold(inputs: Inputs, population: str) -> Results:
    found = inputs.films(OUT_OF_FOLD, population)
    if found is None:
        raise ValueError(f"{OUT_OF_FOLD}.csv has no film of {population}")
    return found


def _calibrated(
    inputs: Inputs, name: str, population: str, entry: Mapping[str, Any]
) -> Results | None:
    found = inputs.uncalibrated(name, population)
    if found is None:
        return None
    calibration = entry["calibration"]
    return apply_platt(found, calibration["temperature"], calibration["bias"])


def _required(inputs: Inputs, name: str) -> Results:
    found = inputs.raw(name)
    if found is None:
        raise ValueError(f"{inputs.tables / name}.csv is missing: predict it first")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Choose, write the metadata and print which population is validated, and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args(arguments)
    try:
        found = choose_populations(Inputs(bundle=Path()))
    except (OSError, ValueError) as exc:
        parser.exit(1, f"{exc}\n")
    write_metadata(found)
    for name, entry in found["populations"].items():
        print(
            f"{name}: {'validated' if entry['validated'] else 'not validated'}. {entry['reason']}"
        )
    print(METADATA)


if __name__ == "__main__":
    main()
