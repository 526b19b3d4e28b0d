"""The populations by age, and what is known of them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Population(StrEnum):
    """A group of patients by age, as configs/metadata.json names it."""

    CHILDREN = "children"
    ADULTS = "adults"
    INFANTS = "infants"
    SCHOOL_CHILDREN = "school_children"
    UNKNOWN = "unknown"


# From and to, in years, half open; None is without an end.
YEARS: Final[Mapping[Population, tuple[int, int | None] | None]] = {
    Population.CHILDREN: (1, 6),
    Population.ADULTS: (18, None),
    Population.INFANTS: (0, 1),
    Population.SCHOOL_CHILDREN: (6, 18),
    Population.UNKNOWN: None,
}
# The populations that there are radiographs of, and their cohort in the tables: nobody in the sets
# of adults is known to be under 18, and the children are of one to five years (docs/datasheet.md).
COHORTS: Final[Mapping[str, str]] = {
    Population.CHILDREN: "pediatric",
    Population.ADULTS: "adult",
}
# What calibration and operating points are chosen on: films that physicians read, of every category
# that the population has. Of the other sources of adults the labels are mined from reports, or one
# of the classes is missing.
CHOSEN_ON: Final[Mapping[str, str]] = {
    Population.CHILDREN: "pediatric",
    Population.ADULTS: "rsna2018",
}
