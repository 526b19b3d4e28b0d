"""Coded reasons why an instance was rejected, not analysed or parked.

The codes are a public interface: metric labels, log fields, JSON values, and shown on pages.
"""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """A coded reason; `EXPLANATIONS` holds the sentence a person reads."""

    # rejected on receipt: nothing is kept, and the sender still has its copy
    OUT_OF_RESOURCES = "out-of-resources"
    UNDECODABLE = "undecodable"
    EMPTY_DATA_SET = "empty-data-set"
    MISSING_IDENTIFIER = "missing-identifier"
    INVALID_IDENTIFIER = "invalid-identifier"
    SOP_CLASS_MISMATCH = "sop-class-mismatch"
    SOP_INSTANCE_MISMATCH = "sop-instance-mismatch"
    TRUNCATED = "truncated"
    INTERNAL_ERROR = "internal-error"

    # accepted, but out of the model's scope: the job ends NOT_ANALYSED
    OWN_RESULT = "own-result"
    NOT_AN_IMAGE = "not-an-image"
    MODALITY = "modality-out-of-scope"
    BODY_PART = "body-part-out-of-scope"
    VIEW = "view-out-of-scope"
    NO_PIXELS = "no-pixels"
    MULTI_FRAME = "multi-frame"
    SIZE = "size-out-of-range"
    PIXEL_FORMAT = "pixel-format-unsupported"
    PIXELS_UNREADABLE = "pixels-unreadable"
    CODESTREAM = "codestream-contradicts-header"
    BLANK = "blank-image"
    SATURATED = "saturated-image"
    NOT_CHEST = "not-a-chest-radiograph"
    LATERAL = "lateral-view"
    TURNED = "turned-or-mirrored"
    INVERTED = "inverted-tones"
    CUT_OFF = "lungs-cut-off"
    UNFAMILIAR = "unlike-training-images"
    POPULATION = "population-not-validated"
    DECODER_CRASHED = "decoder-crashed"
    DECODER_TIMEOUT = "decoder-timeout"
    DECODER_OUT_OF_MEMORY = "decoder-out-of-memory"

    # failed too often: the job is PARKED until a person requeues it
    ATTEMPTS_EXHAUSTED = "attempts-exhausted"
    BYTES_MISSING = "bytes-missing"
    REPORT_FAILED = "report-failed"
    NO_DESTINATION = "no-destination"
    DESTINATION_REFUSED = "destination-refused"
    DESTINATION_UNREACHABLE = "destination-unreachable"
    NOT_COMMITTED = "not-committed"
    DESTINATION_REMOVED = "destination-removed"


REJECTING: Final = tuple(Reason)[: tuple(Reason).index(Reason.OWN_RESULT)]
"""The reasons why an instance is rejected on receipt."""

NOT_ANALYSED: Final = tuple(Reason)[
    tuple(Reason).index(Reason.OWN_RESULT) : tuple(Reason).index(Reason.ATTEMPTS_EXHAUSTED)
]
"""The reasons why an accepted instance has no finding."""

PARKING: Final = tuple(Reason)[tuple(Reason).index(Reason.ATTEMPTS_EXHAUSTED) :]
"""The reasons why a job is parked."""

LEFT_ALONE: Final = frozenset({Reason.OWN_RESULT, Reason.NOT_AN_IMAGE})
"""No report is made for these: a report on a report would be received and reported for ever."""

EXPLANATIONS: Final[dict[Reason, str]] = {
    Reason.OUT_OF_RESOURCES: "The disk is full, below its reserve, or cannot be written.",
    Reason.UNDECODABLE: "The data set cannot be read as DICOM in its transfer syntax.",
    Reason.EMPTY_DATA_SET: "The data set holds no element.",
    Reason.MISSING_IDENTIFIER: "A UID that names the instance, series or study is missing.",
    Reason.INVALID_IDENTIFIER: "A UID is not a valid DICOM UID.",
    Reason.SOP_CLASS_MISMATCH: "The SOP Class UID differs from the one in the C-STORE command.",
    Reason.SOP_INSTANCE_MISMATCH: "The SOP Instance UID differs from the C-STORE command's.",
    Reason.TRUNCATED: "The data set ends before its pixel data does.",
    Reason.INTERNAL_ERROR: "An unexpected error in Lobar; the log has the event.",
    Reason.OWN_RESULT: "A result of Lobar's own came back; it is not analysed again.",
    Reason.NOT_AN_IMAGE: "A report or another object without an image; it is left alone.",
    Reason.MODALITY: "The modality is not a projection radiograph.",
    Reason.BODY_PART: "The header names a body part other than the chest.",
    Reason.VIEW: "The header names a view other than a frontal one.",
    Reason.NO_PIXELS: "The instance has no pixel data.",
    Reason.MULTI_FRAME: "The instance has more than one frame.",
    Reason.SIZE: "The image is too small or too large to be a radiograph.",
    Reason.PIXEL_FORMAT: "The pixel format is not one that the model can read.",
    Reason.PIXELS_UNREADABLE: "The pixel data cannot be decoded.",
    Reason.CODESTREAM: "The compressed pixels contradict the header: size, grey or colour.",
    Reason.BLANK: "Every pixel has the same value.",
    Reason.SATURATED: "The pixels are burnt out: too many have the darkest or brightest value.",
    Reason.NOT_CHEST: "The pixels do not show a radiograph of a chest.",
    Reason.LATERAL: "The pixels show a chest from the side, whatever the header says.",
    Reason.TURNED: "The pixels show a chest that is turned, upside down or mirrored.",
    Reason.INVERTED: "The pixels show dark bone on bright lungs: the tones are inverted.",
    Reason.CUT_OFF: "The pixels show lungs that are cut off by the edge of the picture.",
    Reason.UNFAMILIAR: "The pixels look unlike every image that the model was trained on.",
    Reason.POPULATION: "The model is not validated for patients of this age.",
    Reason.DECODER_CRASHED: "The pixel data made its decoder end; no other instance is affected.",
    Reason.DECODER_TIMEOUT: "Decoding took longer than decoding.seconds allows.",
    Reason.DECODER_OUT_OF_MEMORY: "Decoding needed more memory than decoding.memory_bytes allows.",
    Reason.ATTEMPTS_EXHAUSTED: "The work failed or was interrupted too often.",
    Reason.BYTES_MISSING: "The spooled bytes are gone or damaged.",
    Reason.REPORT_FAILED: "No valid report could be built for this instance.",
    Reason.NO_DESTINATION: "No destination is configured to send the report to.",
    Reason.DESTINATION_REFUSED: "The destination refused the report.",
    Reason.DESTINATION_UNREACHABLE: "The destination could not be reached for too long.",
    Reason.NOT_COMMITTED: "The destination took the report and did not commit itself to keep it.",
    Reason.DESTINATION_REMOVED: "The destination is no longer configured.",
}
