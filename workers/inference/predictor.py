"""A loaded bundle: predict radiographs from paths."""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from service.settings import BundleSettings
from workers.inference.bundle import (
    CONFIGURATION,
    BundleError,
    find_device,
    in_one_line,
    parse_configuration,
    read_metadata,
    verified_weights,
)
from workers.inference.conclusions import Conclusions
from workers.inference.model_io import Engine, ModelInput, Outputs, Pixels, stacked
from workers.inference.pipeline import Pipeline, assemble
from workers.prediction import Model, NotAnalysable, Prediction

__all__ = ["BundleError", "ModelInput", "Predictor", "load_predictor"]

log = structlog.get_logger()


class Predictor:
    """One bundle, loaded once: its own preprocessing, network, inferer and postprocessing.

    `prepare`, `read` and `picture` may be called from several threads at once, `predict` from one
    at a time.
    Everything is read from the bundle's configs/metadata.json and configs/inference.yaml, so
    another bundle with the same keys can take its place. A bundle's configuration is code: use
    only one that you trust.

    Attributes:
        engine: runs the network in the place of torch where it takes the inputs. Another thread may
            set it; the next batch uses it.
        note_seconds: called with the time for a radiograph after each batch that torch ran.
    """

    model: Model

    def __init__(
        self,
        bundle: Path,
        *,
        device: str = "auto",
        operating_point: str | None = None,
        report_populations: Collection[str] = (),
    ) -> None:
        """Load a bundle.

        Args:
            bundle: the bundle's folder.
            device: of the network; "auto" is CUDA where there is one.
            operating_point: a name of the metadata's; their default if there is none.
            report_populations: names of populations to report although they are not validated.

        Raises:
            BundleError: it cannot be used.
        """
        bundle = bundle.resolve()
        metadata = read_metadata(bundle)
        self._conclusions = Conclusions(metadata, operating_point, report_populations)
        self.model = self._conclusions.model
        self._pipeline = load_pipeline(bundle, metadata, device)
        self.engine: Engine | None = None
        self.note_seconds: Callable[[float], object] = lambda _: None

    @property
    def device(self) -> str:
        """The device of the network: cpu, cuda or cuda:N."""
        return str(self._pipeline.device)

    def prepare(self, path: Path) -> Pixels:
        """Return the network's input for one radiograph, CxHxW float32 on the CPU.

        Raises:
            NotAnalysable: the bundle refuses the radiograph.
            OSError: the file cannot be read.
        """
        return self.read(path).tensor

    def read(self, path: Path) -> ModelInput:
        """Read one radiograph for the network.

        Raises:
            NotAnalysable: the bundle refuses the radiograph.
            OSError: the file cannot be read.
        """
        return self._pipeline.read(path)

    def read_with_picture(self, path: Path) -> ModelInput:
        """Read one radiograph for the network, and for people where the bundle can do both.

        It raises what `read` does.
        """
        return self._pipeline.read_with_picture(path)

    def picture(self, path: Path) -> NDArray[np.float32]:
        """Read one radiograph for people: the displayed brightness, rows x columns, 0 to 1.

        Raises:
            NotAnalysable: the bundle refuses the radiograph.
            OSError: the file cannot be read.
        """
        return self._pipeline.picture(path)

    def predict(
        self, prepared: Sequence[Pixels], ages: Sequence[float | None] | None = None
    ) -> list[Prediction | NotAnalysable]:
        """Return a prediction or a refusal for each input CxHxW, in their order.

        Args:
            prepared: what `read` gave for each radiograph.
            ages: of the patients in years; None where one is not known, or none is.
        """
        if not prepared:
            return []
        outputs = self._forward(stacked(prepared))
        known = [None] * len(prepared) if ages is None else ages
        return [*map(self._conclusions.conclude, self._pipeline.conclude_all(outputs, known))]

    def _forward(self, images: Pixels) -> Outputs:
        """Run the network on the engine if it has one, else with torch."""
        engine = self.engine
        if engine is not None and engine.takes(images):
            try:
                return engine.run(images)
            except RuntimeError:
                log.exception("engine_failed", engine=engine.name)
                self.engine = None
        began = time.perf_counter()
        outputs = self._pipeline.forward(images)
        self.note_seconds((time.perf_counter() - began) / len(images))
        return outputs


def load_pipeline(bundle: Path, metadata: dict[str, Any], device: str) -> Pipeline:
    """Load the four parts of a bundle, with its weights, on a device.

    Raises:
        BundleError: it cannot be used.
    """
    weights = verified_weights(bundle, metadata)
    chosen = find_device(device)
    try:
        return assemble(parse_configuration(bundle, metadata), weights, chosen)
    except BundleError:
        raise
    except Exception as error:  # a bundle's configuration is code: it may raise anything
        raise BundleError(
            f"{bundle}: {CONFIGURATION} cannot be used ({in_one_line(error)}); reinstall the "
            "bundle or correct its configuration: `lobar check` lists all its faults"
        ) from error


def load_predictor(settings: BundleSettings) -> Predictor:
    """Load the bundle that the settings name.

    Raises:
        BundleError: it cannot be used.
    """
    return Predictor(
        settings.path,
        device=settings.device,
        operating_point=settings.operating_point,
        report_populations=settings.report_populations,
    )
