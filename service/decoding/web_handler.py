"""The one kind of decoder of the web process: it converts pictures and renders radiographs."""

from collections.abc import Mapping
from typing import Any

from service.decoding.answer import Answer
from service.decoding.pictures import PictureHandler
from service.decoding.radiograph import RadiographHandler


class WebHandler:
    """Hands each request to the handler that it is for."""

    def __init__(self) -> None:
        self._pictures = PictureHandler()
        self._radiographs = RadiographHandler()

    def prepare(self) -> None:
        """Prepare both."""
        self._pictures.prepare()
        self._radiographs.prepare()

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """Answer a request for a radiograph, or for the conversion of a picture."""
        handler = self._radiographs if "radiograph" in request else self._pictures
        return handler(request)
