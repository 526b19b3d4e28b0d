"""Write configs/reference.json.

Run `python -m scripts.monitoring` from the bundle's folder, after a training and its evaluation.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from scripts.bundle.loaded import load_bundle
from scripts.data.manifest import all_sets, read_manifest
from scripts.evaluation.inputs import Inputs
from scripts.monitoring.reference import FILE, build


def main(arguments: Sequence[str] | None = None) -> None:
    """Count the films and write the file; on an error print one line and exit with 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=Path, default=Path("../../shared/data"))
    parser.add_argument("--manifest", type=Path, help="a CSV of scripts.data.manifest instead")
    options = parser.parse_args(arguments)
    try:
        rows = read_manifest(options.manifest) if options.manifest else all_sets(options.data_dir)
        films = [row for row in rows if row["part"].startswith("fold-")]
        reference = build(Inputs(bundle=Path()), load_bundle(), films)
    except (OSError, ValueError) as exc:
        parser.exit(1, f"{exc}\n")
    FILE.write_text(json.dumps(reference, indent=2) + "\n")
    print(f"{FILE}: {len(films)} films of the training folds")


if __name__ == "__main__":
    main()
