"""Put the shipped model to every trial: python -m scripts.trials, from the bundle's folder.

Writes docs/predictions/{robustness,shortcuts,attention,gate}.csv. The validation part is what all
of it is tried on; the official test set is only asked how many of its radiographs the gate refuses.
"""

import argparse

from scripts.manifest import held_as, parts_of
from scripts.shipped import load_shipped
from scripts.trials.corners import try_corners
from scripts.trials.looking import try_looking
from scripts.trials.renderings import try_renderings
from scripts.trials.strangers import try_strangers
from scripts.trials.tables import some, write

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data_dir", default="../../shared/data")
parser.add_argument("--only", choices=["robustness", "shortcuts", "attention", "gate"])
given = parser.parse_args()
rows = parts_of(given.data_dir)
held = held_as(rows, "validation")
shipped = load_shipped()
both = [*some(held, 150, cohort="pediatric"), *some(held, 50, cohort="adult")]
trials = {
    "robustness": lambda: try_renderings(shipped, both),
    "shortcuts": lambda: try_corners(shipped, held),
    "attention": lambda: try_looking(shipped, some(held, 200)),
    "gate": lambda: try_strangers(shipped, rows),
}
for name in [given.only] if given.only else trials:
    write(name, trials[name]())
