"""The handler that gathers an evaluator's output and writes predictions and figures."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from scripts.figures import Results, at_point, overall, with_intervals
from scripts.predictions import read_predictions, write_predictions


class Tally:
    """Gather label, logit and probability of every image; at the end write them and the figures.

    `predictions` is a CSV without file names; `metrics` is a JSON object of which only the entry
    `part` is written, so that one file can hold all sets.
    """

    def __init__(
        self,
        *,
        part: str,
        predictions: str,
        metrics: str,
        metadata: Mapping[str, Any],
        draws: int,
        seed: int,
    ) -> None:
        self.part = part
        self.predictions = Path(predictions)
        self.metrics = Path(metrics)
        self.metadata = metadata
        self.draws = draws
        self.seed = seed
        self._rows: list[tuple[str, float, float, float]] = []

    def attach(self, engine: Engine) -> None:
        """Follow `engine`, an evaluator that decollates."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _note(self, engine: Engine) -> None:
        for given, item in zip(engine.state.batch, engine.state.output, strict=True):
            row = (float(item["label"]), float(item["logit"]), float(item["pred"]))
            self._rows.append((str(given["patient"]), *row))

    def _write(self, _: Engine) -> None:
        write_predictions(self.predictions, self._rows)
        found = json.loads(self.metrics.read_text()) if self.metrics.exists() else {}
        found[self.part] = self._figures(read_predictions(self.predictions))
        self.metrics.parent.mkdir(parents=True, exist_ok=True)
        self.metrics.write_text(json.dumps(found, indent=2) + "\n")
        print(json.dumps(found[self.part], indent=2))

    def _figures(self, results: Results) -> dict[str, Any]:
        return {
            "model": {
                "version": self.metadata["version"],
                "weights_sha256": self.metadata["weights"]["sha256"],
            },
            "images": len(results.labels),
            "pneumonia": int(results.labels.sum()),
            "patients": len(np.unique(results.patients)),
            "bootstrap": {"unit": "patient", "draws": self.draws, "seed": self.seed},
            "overall": with_intervals(results, overall, draws=self.draws, seed=self.seed),
            "operating_points": {
                name: with_intervals(
                    results, partial(at_point, point=point), draws=self.draws, seed=self.seed
                )
                for name, point in self.metadata["operating_points"].items()
            },
        }
