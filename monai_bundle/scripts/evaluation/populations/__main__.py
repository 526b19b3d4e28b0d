"""Choose calibration, operating points and bands for each population.

Run `python -m scripts.evaluation.populations` from the bundle's folder, once docs/predictions has
validation.csv and measuring.csv of the shipped weights, and cross_validation.csv, members.csv and
out_of_source.csv of the trainings. Writes into configs/metadata.json: `populations`, each with what
it is `validated` by; `other_abnormality`; and, for an age that is not known and for the populations
without data, the cautious reading as `calibration` and `operating_points`. The test splits choose
nothing: their tables are not read.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.bundle.files import METADATA, write_metadata
from scripts.data.predictions import Results
from scripts.evaluation.inputs import MEMBERS, OUT_OF_FOLD, OUT_OF_SOURCE, Inputs
from scripts.evaluation.platt_scaling import apply_platt
from scripts.evaluation.populations.cautious import cautious
from scripts.evaluation.populations.evidence import chosen_on
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
    unknown = cautious(list(chosen.values()), [each.labelled() for each in films.values()])
    with_other = [entry[OTHER] for entry in chosen.values() if OTHER in entry]
    entries: dict[str, Any] = {}
    for name, entry in chosen.items():
        evidence = Evidence(
            out_of_fold=_out_of_fold(inputs, name),
            out_of_source=_calibrated(inputs, OUT_OF_SOURCE, name, entry),
            measuring=_calibrated(inputs, "measuring", name, entry),
        )
        point = entry["operating_points"][BALANCED]
        entries[name] = conclusion(REQUIREMENTS[Population(name)](evidence, point)) | entry
    calibration = unknown["calibration"]
    read_without_age = {
        name: apply_platt(each, calibration["temperature"], calibration["bias"])
        for name, each in films.items()
    }
    cautious_point = unknown["operating_points"][BALANCED]
    entries[Population.UNKNOWN] = conclusion(of_unknown(read_without_age, cautious_point)) | unknown
    for name in (Population.INFANTS, Population.SCHOOL_CHILDREN):
        entries[name] = {"validated": False, "reason": NO_DATA}
    if with_other:
        entries[Population.UNKNOWN][OTHER] = with_other[0]
    found = {
        **inputs.metadata,
        **unknown,
        "default_operating_point": BALANCED,
        "populations": {name.value: {"years": YEARS[name], **entries[name]} for name in Population},
    }
    found.pop(OTHER, None)
    return found | ({OTHER: with_other[0]} if with_other else {})


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
