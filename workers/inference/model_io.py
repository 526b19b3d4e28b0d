"""What goes into a model for one radiograph, and what comes out of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.evidence import AttentionMap
from workers.grey_levels import Picture
from workers.prediction import Model, NotAnalysable, Prediction, Region
from workers.tones import Tones

Pixels = NDArray[np.float32]
Outputs = Mapping[str, NDArray[np.float32]]  # of an inferer by name, the batch first


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInput:
    """One radiograph as the network needs it."""

    tensor: Pixels  # CxHxW
    tones: Tones | None = None  # in which it is shown, if the bundle says so
    picture: Picture | None = None  # for people, rows x columns, where it was read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutput:
    """The output of postprocessing for one radiograph, its values still unchecked.

    `other` and `population` mean something only where the metadata describe them.
    """

    probability: float
    region: Region | None
    other: float | None = None
    population: str | None = None
    attention: AttentionMap | None = None


class AnyPredictor(Protocol):
    """A loaded bundle, with torch in this process or without."""

    @property
    def model(self) -> Model:
        """What reports name."""

    @property
    def device(self) -> str:
        """The device of the network: cpu, cuda or cuda:N."""

    def read(self, path: Path, /) -> ModelInput:
        """Read one radiograph for the network."""

    def read_with_picture(self, path: Path, /) -> ModelInput:
        """Read one radiograph for the network, and for people where the bundle can do both."""

    def picture(self, path: Path, /) -> Picture:
        """Read one radiograph for people."""

    def predict(
        self, prepared: Sequence[Pixels], ages: Sequence[float | None] | None = None, /
    ) -> Sequence[Prediction | NotAnalysable]:
        """Return a prediction or a refusal for each input CxHxW, in their order."""


class Engine(Protocol):
    """What runs a network in the place of torch; from one thread at a time."""

    @property
    def name(self) -> str:
        """As `bundle.engine` names it."""

    def takes(self, images: Pixels, /) -> bool:
        """Return whether it can run images BxCxHxW of this shape."""

    def run(self, images: Pixels, /) -> Outputs:
        """Return the network's outputs.

        Raises:
            RuntimeError: it fails.
        """


def stacked(prepared: Collection[Pixels]) -> Pixels:
    """Return inputs CxHxW as one batch BxCxHxW.

    Raises:
        ValueError: they have different shapes.
    """
    return np.stack([np.asarray(each, dtype=np.float32) for each in prepared])
