"""A loaded bundle: predict radiographs from paths."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.domain.reasons import Reason
from service.settings import BundleSettings
from workers.inference.bundle import (
    CONFIGURATION,
    BundleError,
    describe,
    describe_populations,
    find_device,
    in_one_line,
    parse_configuration,
    read_metadata,
    verified_weights,
)
from workers.inference.operating_points import Population
from workers.inference.pipeline import ModelInput, ModelOutput, assemble
from workers.prediction import (
    Finding,
    Model,
    NotAnalysable,
    OperatingPoint,
    OtherAbnormality,
    Prediction,
)

__all__ = ["BundleError", "ModelInput", "Predictor", "load_predictor"]


class Predictor:
    """One bundle, loaded once: its own preprocessing, network, inferer and postprocessing.

    `prepare`, `read` and `picture` may be called from several threads at once, `predict` from one
    at a time.
    Everything is read from the bundle's configs/metadata.json and configs/inference.yaml, so
    another bundle with the same keys can take its place. A bundle's configuration is code: use
    only one that you trust.
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
        self.model = describe(metadata, operating_point)
        self._populations = describe_populations(metadata, self.model, report_populations)
        weights = verified_weights(bundle, metadata)
        chosen = find_device(device)
        try:
            config = parse_configuration(bundle, metadata)
            self._pipeline = assemble(config, weights, chosen)
        except BundleError:
            raise
        except Exception as error:  # a bundle's configuration is code: it may raise anything
            raise BundleError(
                f"{bundle}: {CONFIGURATION} cannot be used ({in_one_line(error)}); reinstall the "
                "bundle or correct its configuration: `lobar check` lists all its faults"
            ) from error

    @property
    def device(self) -> str:
        """The device of the network: cpu, cuda or cuda:N."""
        return str(self._pipeline.device)

    def prepare(self, path: Path) -> torch.Tensor:
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

    def picture(self, path: Path) -> NDArray[np.float32]:
        """Read one radiograph for people: the displayed brightness, rows x columns, 0 to 1.

        Raises:
            NotAnalysable: the bundle refuses the radiograph.
            OSError: the file cannot be read.
        """
        return self._pipeline.picture(path)

    def predict(
        self, prepared: Sequence[torch.Tensor], ages: Sequence[float | None] | None = None
    ) -> list[Prediction | NotAnalysable]:
        """Return a prediction or a refusal for each input CxHxW, in their order.

        Args:
            prepared: what `read` gave for each radiograph.
            ages: of the patients in years; None where one is not known, or none is.
        """
        return [
            each if isinstance(each, NotAnalysable) else self._conclude(each)
            for each in self._pipeline.answer(prepared, ages)
        ]

    def _conclude(self, output: ModelOutput) -> Prediction | NotAnalysable:
        population = self._population(output)
        if not population.is_reported:
            return NotAnalysable(Reason.POPULATION, population=population.name)
        finding = population.model.operating_point.read(output.probability)
        return Prediction(
            finding=finding,
            probability=output.probability,
            model=population.model,
            # a box in a negative report would read as a finding
            region=None if finding is Finding.ABSENT else output.region,
            other=_read_other(population.other, output.other),
            population=population.name,
            attention=output.attention,
        )

    def _population(self, output: ModelOutput) -> Population:
        """Return the population that postprocessing named; everybody if the bundle has none.

        Raises:
            BundleError: the bundle has populations, and this is none of them.
        """
        if everybody := self._populations.get(None):
            return everybody
        if found := self._populations.get(output.population):
            return found
        names = ", ".join(map(str, self._populations))
        raise BundleError(
            f'postprocessing gives {output.population!r} for "population": let it give one of the '
            f"metadata's, {names}"
        )


def _read_other(point: OperatingPoint | None, probability: float | None) -> OtherAbnormality | None:
    if point is None or probability is None:
        return None
    return OtherAbnormality(
        finding=point.read(probability), probability=probability, operating_point=point
    )


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
