"""The attributes of the source that outputs use, read leniently: invalid values count as absent."""

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final, Self

from pydicom.dataset import Dataset

from workers.reporting.output import ReportError
from workers.reporting.raw_elements import decimals, text_values, unsigned_short

# PS3.5 9.1, but a component may begin with a zero: the listener accepts such senders too
ACCEPTED_UID: Final = r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*"
LONGEST_OFFSET_EAST: Final = timedelta(hours=14)  # PS3.3 C.12.1.1.8
LONGEST_OFFSET_WEST: Final = timedelta(hours=12)
LOSSY_TRANSFER_SYNTAXES: Final = frozenset(
    {
        "1.2.840.10008.1.2.4.50",  # JPEG baseline
        "1.2.840.10008.1.2.4.51",  # JPEG extended
        "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
        "1.2.840.10008.1.2.4.91",  # JPEG 2000, which may be lossless: the header then says so
    }
)

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The instance that was analysed. Spacings are (between rows, between columns) in mm."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    rows: int | None
    columns: int | None
    patient_orientation: tuple[str, str] | None
    pixel_spacing: Pair | None
    imager_pixel_spacing: Pair | None
    body_part: str
    burned_in_annotation: str
    lossy: bool
    time_zone: timezone | None

    @classmethod
    def read(cls, header: Dataset) -> Self:
        """Read a header.

        Raises:
            ReportError: the header lacks a valid class, instance, study or series UID.
        """
        return cls(
            sop_class_uid=_uid(header, "SOPClassUID"),
            sop_instance_uid=_uid(header, "SOPInstanceUID"),
            study_instance_uid=_uid(header, "StudyInstanceUID"),
            series_instance_uid=_uid(header, "SeriesInstanceUID"),
            modality=_code_string(header, "Modality"),
            rows=unsigned_short(header, "Rows") or None,
            columns=unsigned_short(header, "Columns") or None,
            patient_orientation=_orientation(header),
            pixel_spacing=_spacing(header, "PixelSpacing"),
            imager_pixel_spacing=_spacing(header, "ImagerPixelSpacing"),
            body_part=_code_string(header, "BodyPartExamined"),
            burned_in_annotation=_code_string(header, "BurnedInAnnotation"),
            lossy=_is_lossy(header),
            time_zone=_time_zone(header),
        )

    def local(self, moment: datetime) -> datetime:
        """Convert a moment to the source's time zone; unchanged if the source names none."""
        return moment.astimezone(self.time_zone) if self.time_zone else moment


def _uid(header: Dataset, keyword: str) -> str:
    values = text_values(header, keyword)
    if len(values) != 1 or not re.fullmatch(ACCEPTED_UID, values[0]):
        raise ReportError(f"the source has no valid {keyword}")
    return values[0]


def _code_string(header: Dataset, keyword: str) -> str:
    """Return a single valid CS value (PS3.5 6.2), else an empty string."""
    values = text_values(header, keyword)
    if len(values) != 1 or not re.fullmatch(r"[A-Z0-9_ ]{1,16}", values[0]):
        return ""
    return values[0]


def _orientation(header: Dataset) -> tuple[str, str] | None:
    values = text_values(header, "PatientOrientation")
    match values:
        case (row, column) if all(re.fullmatch(r"[APRLHF]{1,3}", value) for value in values):
            return row, column
    return None


def _spacing(header: Dataset, keyword: str) -> Pair | None:
    match decimals(header, keyword):
        case (rows, columns) if all(
            math.isfinite(value) and value > 0 for value in (rows, columns)
        ):
            return rows, columns
    return None


def _is_lossy(header: Dataset) -> bool:
    """Return whether the pixels were ever compressed with loss (PS3.3 C.7.6.1.1.5)."""
    stated = text_values(header, "LossyImageCompression")
    if stated:
        return stated == ("01",)
    meta = getattr(header, "file_meta", None)
    return meta is not None and meta.get("TransferSyntaxUID") in LOSSY_TRANSFER_SYNTAXES


def _time_zone(header: Dataset) -> timezone | None:
    values = text_values(header, "TimezoneOffsetFromUTC")
    match = re.fullmatch(r"([+-])(\d\d)([0-5]\d)", values[0]) if len(values) == 1 else None
    if match is None:
        return None
    sign = -1 if match[1] == "-" else 1
    offset = sign * timedelta(hours=int(match[2]), minutes=int(match[3]))
    if not -LONGEST_OFFSET_WEST <= offset <= LONGEST_OFFSET_EAST:
        return None
    return timezone(offset)
