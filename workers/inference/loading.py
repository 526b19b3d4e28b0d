"""Load one instance: its header, and its pixels as the network and a viewer need them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydicom.dataset import Dataset

from service.domain.reasons import Reason
from workers.inference.header import HeaderTooLargeError, UnreadableFileError, parse_header
from workers.inference.scope import out_of_scope
from workers.prediction import NotAnalysable

if TYPE_CHECKING:
    from workers.inference.pipeline import ModelInput


class Reader(Protocol):
    """What reads the pixels: a predictor, or decoders."""

    def read(self, path: Path, /) -> "ModelInput":
        """Read one radiograph for the network and for a viewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedInstance:
    """A header to report on, and the pixels as the network and a viewer need them."""

    header: Dataset
    prepared: "ModelInput"


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
    return LoadedInstance(header=header, prepared=reader.read(path))


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
