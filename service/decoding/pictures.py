"""Convert PNG and JPEG to instances in decoders: Pillow reads hostile bytes too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom import dcmwrite

from service.decoding.answer import Answer
from service.decoding.failures import DecodingError
from service.decoding.pool import DecoderPool
from service.dicom.secondary_capture import PictureError, wrap
from service.domain.reasons import EXPLANATIONS


class PictureHandler:
    """What a decoder does: convert one picture and write the instance."""

    def prepare(self) -> None:
        """Need nothing: all is imported."""

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """Write the picture as an instance, or return why it cannot be converted."""
        try:
            instance = wrap(Path(request["picture"]))
        except PictureError as error:
            return Answer(values={"refused": str(error)})
        dcmwrite(request["instance"], instance, enforce_file_format=True)
        return Answer()


class PictureConverter:
    """Converts pictures in decoders; from several threads at once."""

    def __init__(self, pool: DecoderPool, *, patience: float | None = None) -> None:
        self._pool = pool
        self._patience = patience

    def convert(self, picture: Path, instance: Path) -> None:
        """Write a picture as a Secondary Capture instance.

        Raises:
            PictureError: it cannot be converted, or its decoder failed, which is coded in it.
            DecodersBusyError: every decoder is busy.
            DecodersLostError: no decoder can be started.
            OSError: a file cannot be read or written.
        """
        request = {"picture": str(picture.absolute()), "instance": str(instance.absolute())}
        try:
            answer = self._pool.ask(request, patience=self._patience, slow_patience=self._patience)
        except DecodingError as failure:
            raise PictureError(EXPLANATIONS[failure.reason], failure.reason) from failure
        if refused := answer.values.get("refused"):
            raise PictureError(str(refused))
