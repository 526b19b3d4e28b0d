"""Run the robustness tests of the shipped model.

Run `python -m scripts.robustness` from the bundle's folder. Writes
docs/predictions/{robustness,shortcuts,attention,gate,surroundings}.csv. The tests use the
validation part, that of the surroundings also the adults with COVID-19; on the official test set,
these adults and the lateral films only the gate's refusals are counted.
"""

import argparse
import sys
from collections.abc import Sequence

from scripts.bundle.loaded import load_bundle
from scripts.data.manifest import all_sets, rows_of_part
from scripts.robustness.attention_checks import check_attention
from scripts.robustness.corner_markers import check_corners
from scripts.robustness.out_of_distribution import check_gate
from scripts.robustness.renderings import check_renderings
from scripts.robustness.surroundings import check_surroundings, described, framed_rows
from scripts.robustness.tables import sample, write_table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all tests, or the one named on the command line."""
    names = ["robustness", "shortcuts", "attention", "gate", "surroundings"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="../../shared/data")
    parser.add_argument("--only", choices=names)
    options = parser.parse_args(arguments)
    rows = all_sets(options.data_dir)
    validation = rows_of_part(rows, "validation")
    bundle = load_bundle()
    both = [*sample(validation, 150, cohort="pediatric"), *sample(validation, 50, cohort="adult")]
    checks = {
        "robustness": lambda: check_renderings(bundle, both),
        "shortcuts": lambda: check_corners(bundle, validation),
        "attention": lambda: check_attention(bundle, sample(validation, 200)),
        "gate": lambda: check_gate(bundle, rows),
        "surroundings": lambda: check_surroundings(
            bundle, framed_rows(validation, options.data_dir)
        ),
    }
    for name in [options.only] if options.only else names:
        found = checks[name]()
        write_table(name, found)
        if name == "surroundings":
            sys.stdout.write(described(found))


if __name__ == "__main__":
    main()
