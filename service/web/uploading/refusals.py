"""Refuse an upload in words: what it is, why it is not taken, and what to do next."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from service.domain.reasons import Reason
from service.web.problem import Problem

ACCEPTED: Final = "DICOM Part 10, PNG, JPEG and a ZIP of them are taken."


class Refusal(Problem):
    """A refusal that says itself what to do next."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        advice: str,
        reason: Reason | None = None,
        *,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(status, detail, reason, retry_after=retry_after)
        self.advice = advice


class Skipped(Refusal):
    """A file that is not meant to be read, such as the directory of a DICOM medium."""


_PERSON: Final = "Tell the person who runs Lobar here; nothing has to be sent again."
_AGAIN: Final = "Export it again where it came from, and send the new file."
_IMAGE: Final = "Send the radiograph itself: frontal (PA or AP), one image."
_ORIGINAL: Final = (
    "Send the original DICOM file, or a picture exported by the viewer; not a photograph of a "
    "screen, nor a part of the film."
)

ADVICE: Final[Mapping[Reason, str]] = {
    Reason.OUT_OF_RESOURCES: "Keep the file and try again later. If that fails too, tell the "
    "person who runs Lobar here: its disk is full or its ledger does not answer.",
    Reason.UNDECODABLE: _AGAIN,
    Reason.EMPTY_DATA_SET: _AGAIN,
    Reason.MISSING_IDENTIFIER: "Export it again with its UIDs: anonymising may have removed them.",
    Reason.INVALID_IDENTIFIER: "Export it again with valid UIDs: anonymising may have broken them.",
    Reason.SOP_CLASS_MISMATCH: _AGAIN,
    Reason.SOP_INSTANCE_MISMATCH: _AGAIN,
    Reason.TRUNCATED: "The file is incomplete: copy or export it again, and send the new file.",
    Reason.INTERNAL_ERROR: "Tell the person who runs Lobar here, and keep the file.",
    Reason.OWN_RESULT: "Nothing: it is a result of Lobar. Send the radiograph that it is about.",
    Reason.NOT_AN_IMAGE: "Nothing: it holds no image. Send the radiograph that it belongs to.",
    Reason.MODALITY: "Send a radiograph of the chest: CR, DX or a picture of one, not CT or MR.",
    Reason.BODY_PART: "Send a radiograph of the chest. If it is one, its header is wrong: send it "
    "as a picture, PNG or JPEG.",
    Reason.VIEW: "Send the frontal view of the same study (PA or AP).",
    Reason.NO_PIXELS: _IMAGE,
    Reason.MULTI_FRAME: "Send a single image: a film of many frames cannot be read.",
    Reason.SIZE: "Send the radiograph at its own size: at least 64 pixels on each side, at most "
    "100 megapixels; not a thumbnail.",
    Reason.PIXEL_FORMAT: "Export it as uncompressed DICOM, PNG or JPEG, and send that.",
    Reason.PIXELS_UNREADABLE: _AGAIN,
    Reason.CODESTREAM: _AGAIN,
    Reason.BLANK: "The image is empty: send the radiograph that was meant.",
    Reason.SATURATED: _ORIGINAL,
    Reason.NOT_CHEST: _ORIGINAL,
    Reason.LATERAL: "Send the frontal view of the same study (PA or AP).",
    Reason.TURNED: "Turn it upright, with the patient's right on the left of the picture, and send "
    "it again.",
    Reason.INVERTED: "Invert its tones, so that bone is bright, and send it again.",
    Reason.CUT_OFF: "Send the whole film: both lungs from apex to base.",
    Reason.UNFAMILIAR: _ORIGINAL,
    Reason.POPULATION: "Have it read by a person: the model is not validated for this age.",
    Reason.DECODER_CRASHED: _AGAIN,
    Reason.DECODER_TIMEOUT: "Export it uncompressed or smaller, and send that.",
    Reason.DECODER_OUT_OF_MEMORY: "Export it uncompressed or smaller, and send that.",
    Reason.ATTEMPTS_EXHAUSTED: _PERSON,
    Reason.BYTES_MISSING: "Send the same file again: the job takes its bytes and continues.",
    Reason.REPORT_FAILED: _PERSON,
    Reason.NO_DESTINATION: "Nothing: the finding is here. To have reports sent to a PACS, a "
    "destination must be configured.",
    Reason.DESTINATION_REFUSED: _PERSON,
    Reason.DESTINATION_UNREACHABLE: _PERSON,
    Reason.NOT_COMMITTED: _PERSON,
    Reason.DESTINATION_REMOVED: _PERSON,
}
"""What the person who sent an instance does about each reason."""

_BY_STATUS: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "Choose the files again, and send them once more.",
    HTTPStatus.UNAUTHORIZED: "Sign in, and send it again.",
    HTTPStatus.FORBIDDEN: "Reload this page, and send it again.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Send fewer files at once, or a smaller one.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "Export the radiograph as DICOM, PNG or JPEG, and send "
    "that.",
    HTTPStatus.UNPROCESSABLE_ENTITY: _AGAIN,
    HTTPStatus.SERVICE_UNAVAILABLE: "Try it again in a moment.",
    HTTPStatus.INSUFFICIENT_STORAGE: ADVICE[Reason.OUT_OF_RESOURCES],
}


def advice_for(problem: Problem) -> str:
    """Return what the sender of a refused file does next."""
    if isinstance(problem, Refusal):
        return problem.advice
    if problem.reason is not None:
        return ADVICE[problem.reason]
    return _BY_STATUS.get(problem.status, ADVICE[Reason.INTERNAL_ERROR])


_ARCHIVES: Final = (
    *(b"PK\x03\x04", b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf\x27\x1c"),
    *(b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"),
)
_OTHER_KINDS: Final[tuple[tuple[int, bytes, str, str], ...]] = (  # offset, bytes, name, advice
    (0, b"%PDF", "a PDF", "Export the radiograph itself as DICOM, PNG or JPEG, and send that."),
    (4, b"ftyphe", "a HEIC picture", "Save it as JPEG (on an iPhone: Most Compatible)."),
    (4, b"ftypmif1", "a HEIC picture", "Save it as JPEG (on an iPhone: Most Compatible)."),
    (4, b"ftyp", "a film", "Send a single radiograph."),
    (0, b"II*\0", "a TIFF picture", "Save it as PNG, and send that."),
    (0, b"MM\0*", "a TIFF picture", "Save it as PNG, and send that."),
    (0, b"GIF8", "a GIF picture", "Send the original, or save it as PNG."),
    (0, b"BM", "a BMP picture", "Save it as PNG, and send that."),
    (8, b"WEBP", "a WebP picture", "Send the original, or save it as PNG."),
)


def not_taken(first_bytes: bytes) -> Refusal:
    """Build the refusal of a file that is no instance and no picture, by its first bytes."""
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    if not first_bytes:
        return Refusal(status, f"The file is empty. {ACCEPTED}", _AGAIN)
    if first_bytes.startswith(_ARCHIVES):
        detail = f"It is an archive in another one, or not a ZIP. {ACCEPTED}"
        return Refusal(status, detail, "Unpack it, and send the files in it.")
    for offset, magic, name, advice in _OTHER_KINDS:
        if first_bytes[offset:].startswith(magic):
            return Refusal(status, f"It is {name}. {ACCEPTED}", advice)
    return Refusal(status, ACCEPTED, _BY_STATUS[status])
