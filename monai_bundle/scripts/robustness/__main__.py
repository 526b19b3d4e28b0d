"""Put the shipped model to every trial: python -m scripts.robustness, from the bundle's folder.

Writes docs/predictions/{robustness,shortcuts,attention,gate}.csv. The validation part is what all
of it is tried on; the official test set is only asked how many of its radiographs the gate refuses.
"""

import argparse

from scripts.bundle.loaded import load_shipped
from scripts.data.manifest import held_as, parts_of
from scripts.robustness.attention_checks import try_looking
from scripts.robustness.corner_markers import try_corners
from scripts.robustness.out_of_distribution import try_strangers
from scripts.robustness.renderings import try_renderings
from scripts.robustness.tables import some, write

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
