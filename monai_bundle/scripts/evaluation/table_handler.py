"""The handler that writes an evaluator's output to a table of predictions."""

from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from scripts.data.predictions import prediction_of, write_predictions


class PredictionTableHandler:
    """Collect logit and probability of every image, and write them to a CSV at the end.

    Attach it to an evaluator that decollates, over rows of a manifest. Each output has `pred`, the
    probability, and `logit`, from which it was computed.

    Args:
        path: the CSV to write.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Add the handler to `engine`."""
        engine.add_event_handler(Events.STARTED, lambda _: self._rows.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        state: Any = engine.state  # ignite's annotations are of its counters only
        for row, item in zip(state.batch, state.output, strict=True):
            self._rows.append(prediction_of(row, float(item["logit"]), float(item["pred"])))

    def _write(self, _: Engine) -> None:
        write_predictions(self.path, self._rows)
        print(f"{len(self._rows)} predictions: {self.path}")
