"""Read the pixels of instances in decoders, with the preprocessing of a bundle."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from service.decoding import Answer, DecoderPool, DecodingError
from service.dicom.secondary_capture import PictureError, wrap
from service.domain.reasons import EXPLANATIONS, Reason
from workers.inference.bundle import parse_configuration, read_metadata
from workers.inference.pipeline import ModelInput, read_picture, read_radiograph
from workers.prediction import NotAnalysable
from workers.tones import Tones


class RadiographHandler:
    """What a decoder does: read one radiograph. The bundle is parsed once, in the template."""

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle.resolve()
        self._preprocessing: Any = None  # the bundle's own

    def prepare(self) -> None:
        """Parse the bundle's configuration, which is code and may raise anything."""
        torch.set_num_threads(1)  # a decoder is one of several, and the threads of a fork are gone
        config = parse_configuration(self._bundle, read_metadata(self._bundle))
        self._preprocessing = config.get_parsed_content("preprocessing")

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """Return the tensor or the picture of the radiograph, or why the bundle refuses it."""
        if "picture" in request:
            return _convert(Path(request["picture"]))
        if self._preprocessing is None:
            self.prepare()
        try:
            if "shown" in request:
                picture = read_picture(self._preprocessing, Path(request["shown"]))
                return Answer(arrays={"picture": picture})
            read = read_radiograph(self._preprocessing, Path(request["path"]))
        except NotAnalysable as refusal:
            return Answer(values={"refused": str(refusal.reason), "detail": refusal.detail})
        tones = read.tones
        return Answer(
            values={"tones": tones.values if tones else {}},
            arrays={"tensor": read.tensor.numpy(), **(tones.entries if tones else {})},
        )


def _convert(picture: Path) -> Answer:
    """Return a PNG or JPEG as an instance, encoded, or why it cannot be one."""
    try:
        instance = wrap(picture)
    except PictureError as error:
        return Answer(values={"unconverted": str(error)})
    encoded = BytesIO()
    dcmwrite(encoded, instance, enforce_file_format=True)
    return Answer(arrays={"instance": np.frombuffer(encoded.getvalue(), np.uint8)})


class DecodingReader:
    """Reads radiographs as `Predictor.read` does, in decoders; from several threads at once."""

    def __init__(self, pool: DecoderPool, *, slow_patience: float | None = None) -> None:
        self._pool = pool
        self._slow_patience = slow_patience

    def read(self, path: Path) -> ModelInput:
        """Read one radiograph for the network.

        Raises:
            NotAnalysable: the bundle refuses the radiograph, or its decoder failed.
            DecodersBusyError: the radiograph takes long to read, and so do others before it.
            DecodersLostError: no decoder can be started.
            OSError: the file cannot be read.
        """
        answer = self._ask({"path": str(path.absolute())})
        return ModelInput(
            tensor=torch.from_numpy(answer.arrays["tensor"]),
            tones=Tones.read(answer.values["tones"], answer.arrays),
        )

    def picture(self, path: Path) -> NDArray[np.float32]:
        """Read one radiograph for people, as `Predictor.picture` does; raises what `read` does."""
        return self._ask({"shown": str(path.absolute())}).arrays["picture"]

    def _ask(self, request: Mapping[str, str]) -> Answer:
        try:
            answer = self._pool.ask(request, slow_patience=self._slow_patience)
        except DecodingError as failure:
            raise NotAnalysable(failure.reason) from failure
        if refused := answer.values.get("refused"):
            raise NotAnalysable(Reason(refused), str(answer.values["detail"]))
        return answer

    def convert(self, picture: Path) -> Dataset:
        """Build the instance of a PNG or JPEG.

        Raises:
            PictureError: it cannot be converted, or its decoder failed.
            DecodersLostError: no decoder can be started.
            OSError: the file cannot be read.
        """
        try:
            answer = self._pool.ask({"picture": str(picture.absolute())})
        except DecodingError as failure:
            raise PictureError(EXPLANATIONS[failure.reason], failure.reason) from failure
        if refused := answer.values.get("unconverted"):
            raise PictureError(str(refused))
        return dcmread(BytesIO(answer.arrays["instance"].tobytes()))
