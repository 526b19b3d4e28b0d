"""Put together the films of a population that calibration and operating points are chosen on.

Of the shipped ensemble itself there is the validation part, which is small; of the trainings that
it consists of there are all films out of fold. Averaging the logits of several trainings makes them
less extreme, so that a threshold of one does not hold for the other. On the validation part, which
none of them was trained on, both are known: the mean and the spread of the ensemble's logits there,
and those of its members', give the line that brings out-of-fold logits to the ensemble's scale. No
label takes part in it. Predictions of trainings that left a source out choose nothing: they are
what the choice is measured on.
"""

from dataclasses import replace

import numpy as np

from scripts.data.predictions import FloatArray, Results, joined
from scripts.evaluation.populations.names import CHOSEN_ON, COHORTS


def at_scale_of_ensemble(
    results: Results, members: Results | None, ensemble: Results | None
) -> Results:
    """Return results of single trainings with logits as the ensemble's would be spread.

    Population by population, both heads. Without both of the tables results stay as they are.

    Args:
        results: of trainings, each film by one of them.
        members: the validation part by each training of the ensemble.
        ensemble: the validation part by the ensemble.
    """
    if members is None or ensemble is None:
        return results
    logits, others = results.logits.copy(), results.others.copy()
    for cohort in COHORTS.values():
        here = results.cohorts == cohort
        one = members.take(members.cohorts == cohort)
        all_ = ensemble.take(np.isin(ensemble.images, one.images) & (ensemble.cohorts == cohort))
        if here.any() and len(one.images) and len(all_.images):
            logits[here] = _moved(logits[here], one.logits, all_.logits)
            others[here] = _moved(others[here], one.others, all_.others)
    return replace(results, logits=logits, others=others)


def _moved(values: FloatArray, before: FloatArray, after: FloatArray) -> FloatArray:
    """Return values on the line that takes the mean and the spread of one sample to another's."""
    if np.isnan(before).any() or np.isnan(after).any() or not before.std() > 0:
        return values
    moved: FloatArray = (values - before.mean()) * (after.std() / before.std()) + after.mean()
    return moved


def chosen_on(
    population: str, validation: Results, out_of_fold: Results, members: Results
) -> Results:
    """Return the films that a population's calibration and operating points are chosen on.

    Args:
        population: one with films.
        validation: the validation part by the ensemble.
        out_of_fold: the folds by the training that held each out.
        members: the validation part by each of these trainings.

    Raises:
        ValueError: there is none.
    """
    scaled = at_scale_of_ensemble(out_of_fold, members, validation)
    films = joined([validation, scaled])
    found = films.take(films.sources == CHOSEN_ON[population])
    if not len(found.images):
        raise ValueError(f"no film of {CHOSEN_ON[population]} in the tables: predict them first")
    return found
