"""Audit the sets and the shipped model for shortcuts.

Run `python -m scripts.evaluation.shortcuts` from the bundle's folder; about an hour on one core, of
which the network's features take most. They and the descriptions are kept in the run folder, so
that a second run takes minutes. Writes docs/shortcuts.json, which has no figure of a single
radiograph; `make evaluate` shows it on docs/evaluation.md.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from scripts.bundle.loaded import load_bundle
from scripts.data.manifest import all_sets
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.shortcuts.audit import (
    DRAWS,
    SEED,
    attention,
    findings,
    subgroups,
    tasks,
)
from scripts.evaluation.shortcuts.films import (
    audited,
    gather,
    shared_patients,
    trained_sets,
    unseen_logits,
)
from scripts.evaluation.shortcuts.no_lung import describe_all, header_facts
from scripts.evaluation.shortcuts.thorax import inside_thorax
from scripts.evaluation.shortcuts.tones import sample_sets, tones
from scripts.training.film_features import extract, read_features


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute all figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="../../shared/data")
    parser.add_argument("--runs", type=Path, default=Path("../runs"))
    parser.add_argument("--output", type=Path, default=Path("docs/shortcuts.json"))
    options = parser.parse_args(arguments)
    inputs = Inputs(bundle=Path())
    weights_sha256 = inputs.metadata["weights"]["sha256"]
    try:
        rows = audited(all_sets(options.data_dir))
        bundle = load_bundle()
        extract(bundle, rows, options.runs / "features")
        known = read_features(options.runs / "features", weights_sha256)
        described = describe_all(rows, options.runs / "shortcuts")
        readable = set(map(str, described.sha256))
        rows = [row for row in rows if row["sha256"] in readable]
        unseen = unseen_logits(inputs)
        kept, films = gather(rows, known, unseen, inputs)
    except (OSError, ValueError) as exc:
        parser.exit(1, f"{exc}\n")
    seen = trained_sets(rows, unseen)
    described = described.take([row["sha256"] for row in kept])
    features = {
        "mean grey": described.mean_grey,
        "tone histogram": described.histogram,
        "tone histogram as the network sees it": described.seen_histogram,
        "16x16 thumbnail": described.thumbnail,
        "border and corners": described.border,
        "file facts": described.file_facts,
        "view, sex, age": header_facts(kept),
    }
    thorax = inside_thorax(films.attention, described.layout)
    found = {
        "weights_sha256": weights_sha256,
        "draws": DRAWS,
        "seed": SEED,
        "images": len(kept),
        "seen": seen,
        "shared_patients": shared_patients(films, seen),
        "descriptions": {name: each.shape[1] for name, each in features.items()},
        "tasks": tasks(films, features),
        "findings": findings(films, seen),
        "attention": attention(films, thorax),
        "subgroups": subgroups(films, features, thorax.shares),
        "tones": tones(bundle, sample_sets(kept)),
    }
    options.output.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n")
    print(f"{options.output}: {len(kept)} radiographs")


if __name__ == "__main__":
    main()
