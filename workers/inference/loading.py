"""Load one instance: its header, its pixels as the network needs them, and a way to a picture."""

from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pydicom.dataset import Dataset

from service.domain.monitoring.inputs import InputGroups
from service.domain.reasons import Reason
from workers.grey_levels import Picture
from workers.inference.age import age_years
from workers.inference.drift_inputs import drift_inputs
from workers.inference.header import HeaderTooLargeError, UnreadableFileError, parse_header
from workers.inference.model_io import ModelInput
from workers.inference.scope import out_of_scope
from workers.prediction import NotAnalysable
from workers.tones import Tones

_COMMON_PIXELS: Final = 16_000_000  # those of a radiograph; the memory of larger ones is dear


class Reader(Protocol):
    """What reads the pixels: a predictor, or decoders."""

    def read(self, path: Path, /) -> ModelInput:
        """Read one radiograph for the network."""

    def read_with_picture(self, path: Path, /) -> ModelInput:
        """Read one radiograph for the network, and for people where the bundle can do both."""

    def picture(self, path: Path, /) -> Picture:
        """Read one radiograph for people."""


class ShownInstance:
    """An instance as people see it; its picture is read when it is first asked for, or before."""

    def __init__(self, reader: Reader, path: Path, prepared: ModelInput) -> None:
        self._reader, self._path = reader, path
        self._picture: Picture | None = prepared.picture
        self._begun: Future[Picture] | None = None
        self.tones: Tones | None = prepared.tones

    def begin(self, executor: Executor) -> None:
        """Begin to read the picture in another thread, since it is likely to be asked for."""
        if self._picture is None:
            with suppress(RuntimeError):  # the executor ends: the process does
                self._begun = executor.submit(self._reader.picture, self._path)

    @property
    def picture(self) -> Picture:
        """The radiograph as displayed, rows x columns; asking raises what `Reader.picture` does."""
        # not a cached_property: in Python 3.11 that lets only one instance at a time be read
        if self._picture is None:
            begun, self._begun = self._begun, None
            # one that waits for a thread is read here: all threads may be waiting for such a one
            is_being_read = begun is not None and not begun.cancel()
            self._picture = (
                begun.result() if begun and is_being_read else self._reader.picture(self._path)
            )
        return self._picture


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedInstance:
    """A header to report on, the pixels as the network needs them, and as people see them.

    The age is the patient's in years, if the header says it. The groups are those of the instance
    in what is watched for drift.
    """

    header: Dataset
    prepared: ModelInput
    shown: ShownInstance
    age_years: float | None = None
    drift_inputs: InputGroups | None = None


def load_with(
    reader: Reader, path: Path, header: Dataset, *, with_picture: bool = False
) -> LoadedInstance:
    """Load the pixels of a file whose header is known.

    Args:
        reader: reads them.
        path: of the file.
        header: the data set before the pixels.
        with_picture: whether the picture is read at once, where it is of a common size.

    Raises:
        NotAnalysable: they are out of scope, or cannot be decoded.
        OSError: the file cannot be read.
    """
    is_both = with_picture and _is_of_common_size(_copy(header))
    prepared = reader.read_with_picture(path) if is_both else reader.read(path)
    shown = ShownInstance(reader, path, prepared)
    return LoadedInstance(
        header=header,
        prepared=prepared,
        shown=shown,
        age_years=age_years(header),
        drift_inputs=drift_inputs(header, prepared.tensor),
    )


def _copy(header: Dataset) -> Dataset:
    """Return a copy to look at: the report is written from elements that are still undecoded."""
    tags = tuple(header.keys())  # iterating a Dataset decodes
    return Dataset({tag: header.get_item(tag, keep_deferred=True) for tag in tags})


def _is_of_common_size(header: Dataset) -> bool:
    """Return whether a radiograph is small enough for input and picture at the same time."""
    try:
        return 0 < int(header.Rows) * int(header.Columns) <= _COMMON_PIXELS
    except (AttributeError, TypeError, ValueError):
        return False


def read(reader: Reader, path: Path, *, with_picture: bool = False) -> LoadedInstance:
    """Load an instance of the spool; see `load_with`.

    Raises:
        NotAnalysable: the header or the pixels are out of scope, or cannot be decoded.
        OSError: the file cannot be read.
    """
    header = read_header(path)
    reason = out_of_scope(_copy(header))
    if reason is not None:
        raise NotAnalysable(reason)
    return load_with(reader, path, header, with_picture=with_picture)


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
