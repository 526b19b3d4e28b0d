"""Load one instance: its header, its pixels as the network needs them, and a way to a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from service.domain.reasons import Reason
from workers.inference.age import age_years
from workers.inference.header import HeaderTooLargeError, UnreadableFileError, parse_header
from workers.inference.scope import out_of_scope
from workers.prediction import NotAnalysable
from workers.tones import Tones

if TYPE_CHECKING:
    from workers.inference.pipeline import ModelInput


class Reader(Protocol):
    """What reads the pixels: a predictor, or decoders."""

    def read(self, path: Path, /) -> "ModelInput":
        """Read one radiograph for the network."""

    def picture(self, path: Path, /) -> NDArray[np.float32]:
        """Read one radiograph for people."""


class ShownInstance:
    """An instance as people see it; its picture is read when it is first asked for."""

    def __init__(self, reader: Reader, path: Path, tones: Tones | None) -> None:
        self._reader, self._path = reader, path
        self._picture: NDArray[np.float32] | None = None
        self.tones = tones

    @property
    def picture(self) -> NDArray[np.float32]:
        """The displayed brightness, rows x columns; asking raises what `Reader.picture` does."""
        # not a cached_property: in Python 3.11 that lets only one instance at a time be read
        if self._picture is None:
            self._picture = self._reader.picture(self._path)
        return self._picture


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedInstance:
    """A header to report on, the pixels as the network needs them, and as people see them.

    The age is the patient's in years, if the header says it.
    """

    header: Dataset
    prepared: "ModelInput"
    shown: ShownInstance
    age_years: float | None = None


def load_with(reader: Reader, path: Path, header: Dataset) -> LoadedInstance:
    """Load the pixels of a file whose header is known.

    Raises:
        NotAnalysable: they are out of scope, or cannot be decoded.
        OSError: the file cannot be read.
    """
    prepared = reader.read(path)
    shown = ShownInstance(reader, path, prepared.tones)
    return LoadedInstance(
        header=header, prepared=prepared, shown=shown, age_years=age_years(header)
    )


def read(reader: Reader, path: Path) -> LoadedInstance:
    """Load an instance of the spool.

    Raises:
        NotAnalysable: the header or the pixels are out of scope, or cannot be decoded.
        OSError: the file cannot be read.
    """
    header = read_header(path)
    # checked in a copy: the report is written from elements that are still undecoded
    tags = tuple(header.keys())  # iterating a Dataset decodes
    reason = out_of_scope(Dataset({tag: header.get_item(tag, keep_deferred=True) for tag in tags}))
    if reason is not None:
        raise NotAnalysable(reason)
    return load_with(reader, path, header)


def read_header(path: Path) -> Dataset:
    """Read the data set before the pixels, its elements undecoded.

    Raises:
        NotAnalysable: it cannot be read as DICOM.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            return parse_header(file)
        except UnreadableFileError as exc:
            raise exc.__cause__ or exc from None
        except HeaderTooLargeError as exc:
            raise NotAnalysable(Reason.SIZE) from exc
        except MemoryError:
            raise
        except Exception as exc:  # a broken element makes pydicom raise many kinds, each time
            raise NotAnalysable(Reason.UNDECODABLE) from exc
