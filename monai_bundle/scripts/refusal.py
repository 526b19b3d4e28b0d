"""Why a radiograph is not for the network, as a value the caller can act on."""

from enum import StrEnum


class Code(StrEnum):
    """The coded causes; a caller may show or count them, they hold nothing of the patient."""

    NO_PIXELS = "no-pixels"
    MULTI_FRAME = "multi-frame"
    SIZE = "size-out-of-range"
    PIXEL_FORMAT = "pixel-format-unsupported"
    PIXELS_UNREADABLE = "pixels-unreadable"
    BLANK = "blank-image"
    SATURATED = "saturated-image"

    # what the bundle's gate finds in a picture that could be read
    NOT_CHEST = "not-a-chest-radiograph"
    LATERAL = "lateral-view"
    TURNED = "turned-or-mirrored"
    INVERTED = "inverted-tones"
    CUT_OFF = "lungs-cut-off"
    UNFAMILIAR = "unlike-training-images"


class UnreadableRadiographError(Exception):
    """The network cannot read the input, or must not: `code` says why, `detail` is for people.

    MONAI's transforms wrap whatever a transform raises in a RuntimeError: look for this error
    along `__cause__` with `unreadable_behind`.
    """

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else str(code))
        self.code = str(code)
        self.detail = detail


def unreadable_behind(error: BaseException | None) -> UnreadableRadiographError | None:
    """Give the UnreadableRadiographError that led to `error`, if one did."""
    while error is not None:
        if isinstance(error, UnreadableRadiographError):
            return error
        error = error.__cause__
    return None
