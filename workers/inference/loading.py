"""One instance made ready for the network, or the coded reason why it is not for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.dataset import Dataset

from service.domain.reasons import Reason
from workers.inference.scope import out_of_scope
from workers.prediction import NotAnalysable

if TYPE_CHECKING:
    from workers.inference.predictor import ModelInput, Predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedInstance:
    """A header to report on, and the pixels as the network and a viewer want them."""

    header: Dataset
    prepared: "ModelInput"


def read(predictor: "Predictor", path: Path) -> LoadedInstance:
    """Read an instance of the spool.

    Raises:
        NotAnalysable: the header or the pixels are not for this model, or cannot be decoded.
        OSError: the bytes cannot be read.
    """
    header = read_header(path)
    # judged in a copy: the report is written from elements that nobody has decoded
    reason = out_of_scope(Dataset({tag: header.get_item(tag) for tag in header.keys()}))  # noqa: SIM118 -- iterating a Dataset decodes
    if reason is not None:
        raise NotAnalysable(reason)
    return LoadedInstance(header=header, prepared=predictor.read(path))


def read_header(path: Path) -> Dataset:
    """Read what stands before the pixels, its elements undecoded.

    Raises:
        NotAnalysable: it cannot be read as DICOM.
        OSError: the bytes cannot be read.
    """
    try:
        return dcmread(path, stop_before_pixels=True, force=True)
    except (OSError, MemoryError):
        raise
    except Exception as exc:  # pydicom raises what a broken element makes it raise, for ever
        raise NotAnalysable(Reason.UNDECODABLE) from exc
