"""The coded reasons for which a radiograph is refused, and the exception that carries them."""

from enum import StrEnum


class RefusalCode(StrEnum):
    """The reasons for a refusal; none of them contains patient data, so they may be logged."""

    NO_PIXELS = "no-pixels"
    MULTI_FRAME = "multi-frame"
    SIZE = "size-out-of-range"
    PIXEL_FORMAT = "pixel-format-unsupported"
    PIXELS_UNREADABLE = "pixels-unreadable"
    CODESTREAM = "codestream-contradicts-header"
    BLANK = "blank-image"
    SATURATED = "saturated-image"

    # set by the gate, for an image that could be decoded
    NOT_CHEST = "not-a-chest-radiograph"
    LATERAL = "lateral-view"
    TURNED = "turned-or-mirrored"
    INVERTED = "inverted-tones"
    CUT_OFF = "lungs-cut-off"
    UNFAMILIAR = "unlike-training-images"


class RadiographRefusedError(Exception):
    """The image cannot be decoded or must not be analysed.

    MONAI's transforms wrap every exception in a RuntimeError: use `find_refusal` to recover it.

    Attributes:
        code: the reason, one of `RefusalCode`, as a string.
        detail: an explanation for people; it contains no patient data.
    """

    def __init__(self, code: RefusalCode, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else str(code))
        self.code = str(code)
        self.detail = detail


def find_refusal(error: BaseException | None) -> RadiographRefusedError | None:
    """Return the first RadiographRefusedError in an exception's chain of causes, or None."""
    while error is not None:
        if isinstance(error, RadiographRefusedError):
            return error
        error = error.__cause__
    return None
