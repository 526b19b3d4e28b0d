"""The handler that gathers an evaluator's output and writes the table of predictions."""

from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from scripts.data.predictions import prediction_of, write_predictions


class Table:
    """Gather logit and probability of every image; at the end write them to the CSV `path`.

    Follows an evaluator that decollates, over rows of a manifest, each with its `pred` and the
    `logit` that it was made of.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Follow `engine`."""
        engine.add_event_handler(Events.STARTED, lambda _: self._rows.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _note(self, engine: Engine) -> None:
        for row, item in zip(engine.state.batch, engine.state.output, strict=True):
            self._rows.append(prediction_of(row, float(item["logit"]), float(item["pred"])))

    def _write(self, _: Engine) -> None:
        write_predictions(self.path, self._rows)
        print(f"{len(self._rows)} predictions: {self.path}")
