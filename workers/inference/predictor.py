"""The bundle as a function: a path in, a prediction out."""

from collections.abc import Sequence
from pathlib import Path

import torch

from service.settings import BundleSettings
from workers.inference.bundle import (
    CONFIGURATION,
    BundleError,
    describe,
    find_device,
    in_one_line,
    parse_configuration,
    read_metadata,
    verified_weights,
)
from workers.inference.pipeline import ModelInput, ModelOutput, assemble
from workers.prediction import Finding, Model, NotAnalysable, Prediction

__all__ = ["BundleError", "ModelInput", "Predictor", "load_predictor"]


class Predictor:
    """One bundle, loaded once: its own preprocessing, network, inferer and postprocessing.

    `prepare` and `read` may be called from several threads at once, `predict` from one at a time.
    Everything is read from the bundle's configs/metadata.json and configs/inference.yaml, so
    another bundle with the same keys can take its place. A bundle's configuration is code: use
    only one that you trust.
    """

    model: Model

    def __init__(
        self, bundle: Path, *, device: str = "auto", operating_point: str | None = None
    ) -> None:
        """Load `bundle` on `device` ("auto": CUDA where there is one), or raise BundleError."""
        bundle = bundle.resolve()
        metadata = read_metadata(bundle)
        self.model = describe(metadata, operating_point)
        weights = verified_weights(bundle, metadata)
        chosen = find_device(device)
        try:
            config = parse_configuration(bundle, metadata)
            self._pipeline = assemble(config, weights, chosen)
        except Exception as error:  # a bundle's configuration is code: it may raise anything
            raise BundleError(
                f"{bundle}: {CONFIGURATION} cannot be used ({in_one_line(error)}); reinstall the "
                "bundle or mend its configuration: `lobar check` says all that it lacks"
            ) from error

    @property
    def device(self) -> str:
        """Where the network runs: cpu, cuda or cuda:N."""
        return str(self._pipeline.device)

    def prepare(self, path: Path) -> torch.Tensor:
        """Give the network's input for one radiograph, CxHxW float32 on the CPU.

        Raises as `read` does.
        """
        return self.read(path).tensor

    def read(self, path: Path) -> ModelInput:
        """Give one radiograph for the network and for a person, decoded once.

        Raises NotAnalysable for a radiograph that the bundle refuses, OSError for a path that
        cannot be read.
        """
        return self._pipeline.read(path)

    def predict(self, prepared: Sequence[torch.Tensor]) -> list[Prediction | NotAnalysable]:
        """Give a prediction for each prepared radiograph or the refusal of it, in their order."""
        answers = self._pipeline.answer(prepared)
        return [
            answer if isinstance(answer, NotAnalysable) else self._judge(answer)
            for answer in answers
        ]

    def _judge(self, answer: ModelOutput) -> Prediction:
        finding = self.model.operating_point.read(answer.probability)
        return Prediction(
            finding=finding,
            probability=answer.probability,
            model=self.model,
            # a box around nothing would be taken for something
            region=None if finding is Finding.ABSENT else answer.region,
        )


def load_predictor(settings: BundleSettings) -> Predictor:
    """Load the bundle that the settings name.

    Raises:
        BundleError: it cannot be used.
    """
    return Predictor(
        settings.path, device=settings.device, operating_point=settings.operating_point
    )
