"""Make a cache of films, train a network with several heads from it, or measure one.

Run from the bundle's folder:

    python -m scripts.training.heads cache --output ../runs/films --workers 2
    python -m scripts.training.heads train --start FILE --held_out rsna2018 --held_out nih

`train` runs one training for each --held_out: sources joined by "+", or one part of the manifest
(fold-0 to fold-4, validation). summary.json has the area of each, source by source, and the worst.
`measure` prints the areas of a network on the films of one part. The test splits are never read,
except by `cache --with-test`, whose cache `train` refuses, for the single `measure` of a release,
which is a line of docs/test_runs.csv. `predict` writes what finished trainings say of the films
that each held out as a table of docs/predictions.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.checksum import sha256_of
from scripts.data.manifest import SEED, all_sets, read_manifest
from scripts.data.predictions import FILM_COLUMNS, write_predictions
from scripts.evaluation.run_log import write_run
from scripts.training.heads.cache import Films, read_cache, write_cache
from scripts.training.heads.held_out import held_out_lines
from scripts.training.heads.loop import Settings, Training
from scripts.training.heads.measure import areas_by_source, predict
from scripts.training.heads.network import SHIPPED, VARIANTS, build_network
from scripts.training.heads.sampling import Split, split_films
from scripts.training.heads.table import TEST_PARTS
from scripts.training.heads.tones import NORMALISATIONS


def _cache(options: argparse.Namespace) -> None:
    if options.manifest:
        rows = read_manifest(options.manifest)
    else:
        rows = all_sets(options.data_dir, seed=options.seed)
    found = write_cache(
        rows,
        options.output,
        side=options.side,
        workers=options.workers,
        with_test=options.with_test,
    )
    print(f"{options.output}: {found['decoded']} films, {found['refused']} refused")


def _train(options: argparse.Namespace) -> None:
    films = read_cache(options.films)
    settings = Settings(**{each.name: getattr(options, each.name) for each in fields(Settings)})
    splits = {
        name: split_films(films.table, name, sources=options.source) for name in options.held_out
    }
    results = {
        name: _train_one(films, split, name, settings, options) for name, split in splits.items()
    }
    areas = {name: each["worst"] for name, each in results.items()}
    known = [area for area in areas.values() if area is not None]
    summary = {"worst": min(known, default=None), "areas": areas, "trainings": results}
    (options.output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps({"worst": summary["worst"], "areas": areas}))


def _train_one(
    films: Films, split: Split, name: str, settings: Settings, options: argparse.Namespace
) -> dict[str, Any]:
    torch.manual_seed(settings.seed)  # of the heads' first weights
    network = build_network(
        variant=options.variant,
        normalisation=options.normalisation,
        start=options.start,
        sha256=options.start_sha256,
    )
    asked = {
        "held_out": name,
        "sources": list(options.source),
        "variant": options.variant,
        "normalisation": options.normalisation,
        "start": Path(options.start).name,
        "side": films.side,
    }
    print(f"==> {name}: {len(split.seen)} films to train on, {len(split.held_out)} held out")
    training = Training(
        films,
        split,
        network,
        settings,
        folder=options.output / name,
        device=torch.device(options.device),
        asked=asked,
    )
    return training.run()


def _measure(options: argparse.Namespace) -> None:
    films = read_cache(options.films, with_test=options.part in TEST_PARTS)
    places = np.flatnonzero(films.table.part == options.part)
    if not len(places):
        raise ValueError(f"{options.films} has no film of {options.part}")
    network = build_network(variant=options.variant, normalisation=options.normalisation)
    network.load_state_dict(torch.load(options.weights, map_location="cpu", weights_only=True))
    device = torch.device(options.device)
    scores = predict(network.to(device), films, places, device)
    found = areas_by_source(films.table.take(places), scores)
    if options.part in TEST_PARTS:
        _log_run(options.weights, options.part, found)
    print(json.dumps(found, indent=2))


def _log_run(weights: Path, part: str, found: dict[str, Any]) -> None:
    [areas] = found.values()  # a test split is of one source
    run = {"set": part.replace("-", "_"), "version": "a training", "auc": f"{areas['opacity']:.4f}"}
    write_run(Path(), run | {"weights_sha256": sha256_of(weights)})


def _predict(options: argparse.Namespace) -> None:
    films = read_cache(options.films)
    device = torch.device(options.device)
    lines = [
        line
        for folder in options.trainings
        for line in held_out_lines(folder, films, device, part=options.part)
    ]
    write_predictions(options.table, lines, FILM_COLUMNS)
    print(f"{options.table}: {len(lines)} predictions")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_cache(commands.add_parser("cache", help="decode the films of a manifest"))
    _add_train(commands.add_parser("train", help="train, once for each thing to hold out"))
    _add_measure(commands.add_parser("measure", help="measure a network on one part"))
    _add_predict(commands.add_parser("predict", help="write what trainings say of the held out"))
    return parser


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_cache)
    parser.add_argument("--output", type=Path, default=Path("../runs/films"))
    parser.add_argument("--data_dir", type=Path, default=Path("../../shared/data"))
    parser.add_argument("--manifest", type=Path, help="a CSV of scripts.data.manifest instead")
    parser.add_argument("--side", type=int, default=256, help="rows and columns, a multiple of 32")
    parser.add_argument("--workers", type=int, default=1, help="threads that decode")
    parser.add_argument("--seed", type=int, default=SEED, help="of the parts, without a manifest")
    parser.add_argument(
        "--with-test", action="store_true", help="the test splits too, for a release's evaluation"
    )


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_train)
    _add_network(parser)
    parser.add_argument("--output", type=Path, default=Path("../runs/heads"))
    parser.add_argument("--held_out", action="append", required=True)
    parser.add_argument("--source", action="append", default=[], help="use these alone")
    parser.add_argument("--start", default=SHIPPED, help="shipped, random, or a file of weights")
    parser.add_argument("--start_sha256", help="the digest that this file must have")
    defaults = Settings()
    for name in (each.name for each in fields(Settings) if each.name != "minutes"):
        value = getattr(defaults, name)
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--minutes", type=float, help="the time of each training")


def _add_measure(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_measure)
    _add_network(parser)
    parser.add_argument("weights", type=Path, help="settled.pt of a training")
    parser.add_argument("--part", required=True, help="validation, a fold, measuring, rsna-test")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_predict)
    parser.add_argument("trainings", type=Path, nargs="+", help="folders of finished trainings")
    parser.add_argument("--table", type=Path, required=True, help="the CSV to write")
    parser.add_argument("--part", help="the films of this part, not those held out")
    _add_films(parser)


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--variant", choices=VARIANTS, default="lite0")
    parser.add_argument("--normalisation", choices=NORMALISATIONS, default="none")
    _add_films(parser)


def _add_films(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--films", type=Path, default=Path("../runs/films"), help="the cache")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands; on an error print one line and exit with 1."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ValueError) as exc:
        parser.exit(1, f"{exc}\n")


if __name__ == "__main__":
    main()
