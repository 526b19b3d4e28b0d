"""What the outputs of a bundle mean, by its metadata and the settings."""

from collections.abc import Collection
from typing import Any

from service.domain.reasons import Reason
from workers.inference.bundle import describe, describe_populations
from workers.inference.bundle_error import BundleError
from workers.inference.model_io import ModelOutput
from workers.inference.operating_points import Population
from workers.prediction import (
    Finding,
    NotAnalysable,
    OperatingPoint,
    OtherAbnormality,
    Prediction,
)


class Conclusions:
    """Turns the output for a radiograph into a prediction, or into the reason for none."""

    def __init__(
        self,
        metadata: dict[str, Any],
        operating_point: str | None = None,
        report_populations: Collection[str] = (),
    ) -> None:
        """Read what the metadata say.

        Args:
            metadata: of the bundle.
            operating_point: a name of the metadata's; their default if there is none.
            report_populations: names of populations to report although they are not validated.

        Raises:
            BundleError: the metadata cannot be used, or lack what is named.
        """
        self.model = describe(metadata, operating_point)
        self._populations = describe_populations(metadata, self.model, report_populations)

    def conclude(self, output: ModelOutput | NotAnalysable) -> Prediction | NotAnalysable:
        """Return what is reported of an output.

        Raises:
            BundleError: postprocessing named no population of the metadata.
        """
        if isinstance(output, NotAnalysable):
            return output
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
