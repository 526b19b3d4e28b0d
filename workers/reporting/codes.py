"""The codes of the outputs: DCM of PS3.16 annex D, SNOMED CT, UCUM, and Lobar's own.

No standard code says why an instance was not analysed, and none means an abnormality other than
pneumonia. Lobar's own codes are the reasons of `service.domain.reasons`, the same in a report as in
the log, and those of the other abnormality (docs/adr/0020-report.md), in a coding scheme that the
report itself identifies (PS3.3 C.12.1.1.2).
"""

from typing import Final

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from service.dicom.implementation import MANUFACTURER
from service.domain.reasons import Reason
from workers.prediction import Finding
from workers.reporting.uids import derive_uid

PNEUMONIA: Final = Code("233604007", "SCT", "Pneumonia")
FINDING_CODES: Final = {
    Finding.PRESENT: Code("52101004", "SCT", "Present"),
    Finding.ABSENT: Code("272519000", "SCT", "Absent"),
    Finding.INDETERMINATE: Code("373068000", "SCT", "Undetermined"),
}
CERTAINTY_OF_FINDING: Final = Code("111012", "DCM", "Certainty of Finding")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
IMAGING_PROCEDURE: Final = Code("363679005", "SCT", "Imaging procedure")
IMAGING_MEASUREMENT_REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
IMAGE_LIBRARY: Final = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP: Final = Code("126200", "DCM", "Image Library Group")
SOURCE: Final = Code("260753009", "SCT", "Source")

MODALITY: Final = Code("121139", "DCM", "Modality")
MODALITIES: Final = {  # of CID 29, which has no "other": those of projection radiographs
    "CR": Code("CR", "DCM", "Computed Radiography"),
    "DX": Code("DX", "DCM", "Digital Radiography"),
    "RG": Code("RG", "DCM", "Radiographic imaging"),
    "RF": Code("RF", "DCM", "Radiofluoroscopy"),
    "XA": Code("XA", "DCM", "X-Ray Angiography"),
}
PIXEL_DATA_ROWS: Final = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_DATA_COLUMNS: Final = Code("110911", "DCM", "Pixel Data Columns")
ORIENTATION_ROW: Final = Code("111044", "DCM", "Patient Orientation Row")
ORIENTATION_COLUMN: Final = Code("111043", "DCM", "Patient Orientation Column")
HORIZONTAL_SPACING: Final = Code("111026", "DCM", "Horizontal Pixel Spacing")
VERTICAL_SPACING: Final = Code("111066", "DCM", "Vertical Pixel Spacing")
PERCENT: Final = Code("%", "UCUM", "Percent")
PIXELS: Final = Code("{pixels}", "UCUM", "Pixels")
MILLIMETER: Final = Code("mm", "UCUM", "millimeter")

MEASUREMENT_METHOD: Final = Code("370129005", "SCT", "Measurement Method")
CLASS_ACTIVATION: Final = Code("130402", "DCM", "Class activation")
BOUNDED_BY: Final = Code("75958009", "SCT", "Bounded by")

DIAGNOSTIC_IMAGING_REPORT: Final = Code("18748-4", "LN", "Diagnostic Imaging Report")  # CID 7000
ENGLISH: Final = CodedConcept("en-US", "RFC5646", "English (United States)")
CONCLUSIONS: Final = Code("121076", "DCM", "Conclusions")
CONCLUSION: Final = Code("121077", "DCM", "Conclusion")
PROCESSING_SUMMARY: Final = Code("111017", "DCM", "CAD Processing and Findings Summary")
NO_ALGORITHM_SUCCEEDED: Final = Code(  # CID 6047
    "111245", "DCM", "No algorithms succeeded; without findings"
)

LOBAR_SCHEME: Final = "99LOBAR"
OTHER_ABNORMALITY: Final = Code("abnormal-other", LOBAR_SCHEME, "Abnormality other than pneumonia")
# not longer than "Certainty of Finding": where OHIF cuts labels off, it shows both numbers or none
CERTAINTY_OF_OTHER_ABNORMALITY: Final = Code("certainty-other", LOBAR_SCHEME, "Other abnormality")
NOT_ANALYSED_BECAUSE: Final = Code("not-analysed", LOBAR_SCHEME, "Reason not analysed")


def reason_code(reason: Reason) -> Code:
    """Return the code of a reason; its meaning is the reason in words (LO: 64 characters)."""
    return Code(str(reason), LOBAR_SCHEME, str(reason).replace("-", " ").capitalize())


def lobar_coding_scheme() -> Dataset:
    """Build the item of Coding Scheme Identification Sequence for Lobar's scheme."""
    item = Dataset()
    item.CodingSchemeDesignator = LOBAR_SCHEME
    item.CodingSchemeUID = derive_uid("coding-scheme", LOBAR_SCHEME)
    item.CodingSchemeName = f"{MANUFACTURER} reasons"  # its first codes: a scheme keeps its name
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
