"""How decoding in another process can fail."""

from service.domain.reasons import Reason


class DecodingError(Exception):
    """A process that decoded an instance ended without an answer: the reason is coded."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


class DecodersBusyError(Exception):
    """Every process was busy for as long as the caller could wait."""


class DecodersLostError(Exception):
    """The template is gone, so that no process can be started; this process must start anew."""
