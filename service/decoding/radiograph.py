"""Show radiographs and overlays in decoders, because their pixels may be hostile."""

import gzip
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from service.decoding.answer import Answer
from service.decoding.display import display_of
from service.decoding.failures import DecodingError
from service.decoding.greys import Greys, greys_of
from service.decoding.pixel_data import Frame, UnshowableError, load_decoders, read_frame
from service.decoding.pool import DecoderPool
from service.domain.reasons import Reason

MOST_SAMPLES: Final = 4096  # a side; a larger radiograph is averaged down
DEFAULT_WIDTH: Final = 1024  # of a picture, in pixels
_FAST: Final = 1  # compression: the network is mostly faster than the processor
_LITTLE_ENDIAN: Final = "<u2"
_SPACINGS: Final = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledRadiograph:
    """The samples of a radiograph for a viewer that applies the window itself.

    Attributes:
        description: for JSON; docs/adr/0045-viewer.md lists its keys.
        body: the samples, 16 bits little-endian, row by row; through gzip if that was asked for.
    """

    description: Mapping[str, Any]
    body: memoryview


class RadiographHandler:
    """What a decoder does: decode one file and render it."""

    def prepare(self) -> None:
        """Import the libraries that decode, once for all decoders."""
        load_decoders()

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """Render a file as asked, or return the coded reason why it cannot be shown."""
        try:
            return _RENDERERS[request["as"]](request)
        except UnshowableError as error:
            return Answer(values={"refused": str(error.reason)})


class Radiographs:
    """Renders files in decoders; from several threads at once.

    Its methods raise:
        UnshowableError: the file cannot be shown, or its decoder failed.
        FileNotFoundError: it is not there.
        DecodersBusyError: every decoder is busy.
        DecodersLostError: no decoder can be started.
        OSError: it cannot be read.
    """

    def __init__(self, pool: DecoderPool, *, patience: float | None = None) -> None:
        self._pool = pool
        self._patience = patience

    def sampled(self, path: Path, *, compressed: bool = False) -> SampledRadiograph:
        """Return the samples of a radiograph after the modality transform."""
        answer = self._ask(path, {"as": "samples", "compressed": compressed})
        body = answer.arrays["body"].reshape(-1).view(np.uint8)
        return SampledRadiograph(description=answer.values["description"], body=body.data)

    def description(self, path: Path) -> Mapping[str, Any]:
        """Return the description of the samples without them."""
        answer = self._ask(path, {"as": "description"})
        description: Mapping[str, Any] = answer.values["description"]
        return description

    def picture(self, path: Path, *, width: int = DEFAULT_WIDTH) -> memoryview:
        """Return a PNG of a radiograph as it is displayed, of at most so many columns."""
        return self._ask(path, {"as": "picture", "width": width}).arrays["body"].data

    def output(self, path: Path) -> memoryview:
        """Return a PNG of an image output exactly as it is, in its own colours and size."""
        return self._ask(path, {"as": "output"}).arrays["body"].data

    def _ask(self, path: Path, request: Mapping[str, Any]) -> Answer:
        asked = {"radiograph": str(path.absolute()), **request}
        try:
            answer = self._pool.ask(asked, patience=self._patience, slow_patience=self._patience)
        except DecodingError as failure:
            raise UnshowableError(failure.reason) from failure
        if refused := answer.values.get("refused"):
            raise UnshowableError(Reason(refused))
        return answer


def _samples(request: Mapping[str, Any]) -> Answer:
    frame, greys = _read(request)
    shown = greys.reduced(_reduction(greys))
    body: NDArray[Any] = shown.samples.astype(_LITTLE_ENDIAN, copy=False)
    if request["compressed"]:
        body = np.frombuffer(gzip.compress(body.data, _FAST, mtime=0), np.uint8)
    description = _describe(frame, greys, shown)
    return Answer(values={"description": description}, arrays={"body": body})


def _description(request: Mapping[str, Any]) -> Answer:
    frame, greys = _read(request)
    shown = greys.reduced(_reduction(greys))
    return Answer(values={"description": _describe(frame, greys, shown)})


def _picture(request: Mapping[str, Any]) -> Answer:
    frame, greys = _read(request)
    levels = display_of(frame.dataset, greys).levels(greys)
    image = Image.fromarray(np.take(levels, greys.samples))
    width = min(int(request["width"]), image.width)
    height = max(1, round(image.height * width / image.width))
    if width < image.width:
        image = image.resize((width, height), Image.Resampling.BOX)
    return _png(image)


def _output(request: Mapping[str, Any]) -> Answer:
    """Render an image output: 8 bits, grey or RGB, without a window (PS3.3 A.8.1)."""
    frame = read_frame(Path(request["radiograph"]), least_side=1)
    if frame.values.dtype.itemsize > 1 or frame.photometric not in {"RGB", "MONOCHROME2"}:
        raise UnshowableError(Reason.PIXEL_FORMAT)
    return _png(Image.fromarray(np.ascontiguousarray(frame.values).view(np.uint8)))


_RENDERERS: Final = {
    "samples": _samples,
    "description": _description,
    "picture": _picture,
    "output": _output,
}


def _read(request: Mapping[str, Any]) -> tuple[Frame, Greys]:
    """Read a radiograph; whatever its header makes fail is coded too.

    Raises:
        UnshowableError: it cannot be shown.
    """
    frame = read_frame(Path(request["radiograph"]))
    try:
        return frame, greys_of(frame)
    except (UnshowableError, MemoryError):
        raise
    except Exception as error:  # values of the header that pydicom cannot convert, or odd tables
        raise UnshowableError(Reason.UNDECODABLE) from error


def _reduction(greys: Greys) -> int:
    longest: int = max(greys.samples.shape)
    return math.ceil(longest / MOST_SAMPLES)


def _describe(frame: Frame, greys: Greys, shown: Greys) -> dict[str, Any]:
    present = np.flatnonzero(greys.counts)
    return {
        "rows": shown.samples.shape[0],
        "columns": shown.samples.shape[1],
        "original_rows": greys.samples.shape[0],
        "original_columns": greys.samples.shape[1],
        "reduction": _reduction(greys),
        "slope": greys.slope,
        "intercept": greys.intercept,
        "minimum": int(present[0]),
        "maximum": int(present[-1]),
        "bits_stored": greys.bits,
        "photometric_interpretation": frame.photometric[:16],
        "colour": greys.is_colour,
        "padding": greys.padding,
        "pixel_spacing": _spacing(frame.dataset),
        **display_of(frame.dataset, greys).description(),
    }


def _spacing(dataset: Dataset) -> dict[str, Any] | None:
    """Return the millimetres between rows and between columns, and which attribute says so."""
    for keyword in _SPACINGS:
        try:
            between_rows, between_columns = (float(each) for each in dataset[keyword].value)
        except (KeyError, TypeError, ValueError):
            continue
        if 0 < between_rows < math.inf and 0 < between_columns < math.inf:
            return {"rows": between_rows, "columns": between_columns, "attribute": keyword}
    return None


def _png(image: Image.Image) -> Answer:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=_FAST)
    return Answer(arrays={"body": np.frombuffer(stream.getbuffer(), np.uint8)})
