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
rows = parts_of(parser.parse_args().data_dir)
held = held_as(rows, "validation")
shipped = load_shipped()
both = [*some(held, 150, cohort="pediatric"), *some(held, 50, cohort="adult")]
write("robustness", try_renderings(shipped, both))
write("shortcuts", try_corners(shipped, held))
write("attention", try_looking(shipped, some(held, 200)))
write("gate", try_strangers(shipped, rows))
