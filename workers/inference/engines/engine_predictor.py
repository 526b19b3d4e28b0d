"""A bundle whose network runs on an exported engine, in a process without torch and monai."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from service.settings import BundleSettings
from workers.grey_levels import Levels
from workers.inference.bundle import read_metadata, verified_weights
from workers.inference.conclusions import Conclusions
from workers.inference.decoders import DecodingPostprocessing, DecodingReader
from workers.inference.engines.artefact import Artefact
from workers.inference.engines.openvino_engine import load_engine
from workers.inference.model_io import ModelInput, Outputs, Pixels, stacked
from workers.prediction import NotAnalysable, Prediction

log = structlog.get_logger()


class EnginePredictor:
    """Predicts as `Predictor` does; what surrounds the network is done by decoders."""

    device: Final = "cpu"

    def __init__(
        self,
        settings: BundleSettings,
        artefact: Artefact,
        reader: DecodingReader,
        postprocessing: DecodingPostprocessing,
    ) -> None:
        """Load a bundle's metadata and the engine, and hold its weights to their digest.

        Raises:
            BundleError: the bundle cannot be used.
            RuntimeError: the engine cannot be used; the next start uses torch.
        """
        metadata = read_metadata(settings.path.resolve())
        self._conclusions = Conclusions(
            metadata, settings.operating_point, settings.report_populations
        )
        self.model = self._conclusions.model
        verified_weights(settings.path.resolve(), metadata)
        self._artefact, self._reader, self._postprocessing = artefact, reader, postprocessing
        try:
            self._engine = load_engine(artefact)
        except RuntimeError:
            artefact.distrust()
            raise
        postprocessing.wait_until_ready()

    def read(self, path: Path) -> ModelInput:
        """Read one radiograph for the network; see `DecodingReader.read`."""
        return self._reader.read(path)

    def read_with_picture(self, path: Path) -> ModelInput:
        """Read one radiograph for both; see `DecodingReader.read_with_picture`."""
        return self._reader.read_with_picture(path)

    def picture(self, path: Path) -> Levels:
        """Read one radiograph for people; see `DecodingReader.picture`."""
        return self._reader.picture(path)

    def predict(
        self, prepared: Sequence[Pixels], ages: Sequence[float | None] | None = None
    ) -> list[Prediction | NotAnalysable]:
        """Return a prediction or a refusal for each input CxHxW, in their order.

        Args:
            prepared: what `read` gave for each radiograph.
            ages: of the patients in years; None where one is not known, or none is.

        Raises:
            RuntimeError: postprocessing fails, or the engine: then the next start uses torch.
        """
        if not prepared:
            return []
        outputs = self._forward(stacked(prepared))
        known = [None] * len(prepared) if ages is None else ages
        return [
            self._conclusions.conclude(
                self._postprocessing.conclude(
                    {key: output[place] for key, output in outputs.items()}, age
                )
            )
            for place, age in zip(range(len(prepared)), known, strict=True)
        ]

    def _forward(self, images: Pixels) -> Outputs:
        try:
            if not self._engine.takes(images):
                raise RuntimeError("the network was exported for another shape")  # noqa: TRY301 -- as if it failed
            return self._engine.run(images)
        except RuntimeError:
            log.exception("engine_failed", engine=self._engine.name)
            self._artefact.distrust()
            raise
