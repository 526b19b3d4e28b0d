"""The modules that outputs of every kind share: patient, study, series, equipment, dates."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from service.dicom.implementation import IMPLEMENTATION_CLASS_UID, MANUFACTURER, VERSION
from service.domain.routing import OutputKind
from workers.prediction import Conclusion, Model
from workers.reporting.output import file_meta
from workers.reporting.raw_elements import (
    copy_element,
    known_character_set,
    raw_element,
    sequence_items,
    tag_of,
    text_values,
)
from workers.reporting.source import Source
from workers.reporting.uids import OutputIdentity, device_uid, result_uids
from workers.reporting.wording import ascii_text, model_text

ANALYSED_BODY_PART: Final = "CHEST"  # where the source names none (PS3.16 annex L)

TYPE_2: Final = (  # present even if the source lacks them: PS3.3 C.7.1.1 and C.7.2.1
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)

INHERITED: Final = (  # text attributes of the modules that all instances of a study share
    "SpecificCharacterSet",
    # Patient, PS3.3 C.7.1.1
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "PatientBirthTime",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientMotherBirthName",
    "EthnicGroup",
    "PatientComments",
    "QualityControlSubject",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    # Clinical Trial Subject and Study, C.7.1.3 and C.7.2.3
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    # General Study, C.7.2.1
    "StudyInstanceUID",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "RequestingService",
    "ProcedureCodeSequence",
    "ReferencedStudySequence",
    # Patient Study, C.7.2.2
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "MedicalAlerts",
    "Allergies",
    "Occupation",
    "SmokingStatus",
    "AdditionalPatientHistory",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "ServiceEpisodeID",
    "ServiceEpisodeDescription",
    "PatientState",
)

CLINICAL_TRIAL_SUBJECT: Final = (  # PS3.3 C.7.1.3
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
CLINICAL_TRIAL_SUBJECT_TYPE_2: Final = CLINICAL_TRIAL_SUBJECT[2:5]
METHOD_NOT_STATED: Final = b"Not stated in the source image"  # of de-identification

REQUEST: Final = (  # Referenced Request Sequence, PS3.3 C.17.2; all Type 2 in its items
    "ReferencedStudySequence",
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
)

OF_THE_STUDY: Final = frozenset({"AccessionNumber", "ReferencedStudySequence"})
SERIAL_NUMBER_DIGITS: Final = 16


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """Build a coded entry (PS3.3 table 8.8-1)."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def referenced_instance(source: Source) -> Dataset:
    """Build an item that references the source (PS3.3 table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_instance_uid
    return item


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The class and series attributes of one kind of output."""

    output: OutputKind
    sop_class_uid: str
    modality: str
    series_number: int
    series_description: str


def build_common_modules(
    kind: Kind,
    header: Dataset,
    source: Source,
    conclusion: Conclusion,
    *,
    now: datetime,
    identity: OutputIdentity,
) -> Dataset:
    """Build a data set with the modules that every kind shares, and its file meta information.

    The content of the kind itself is added by the caller.
    """
    uids = result_uids(
        kind=kind.output,
        source_uid=source.sop_instance_uid,
        conclusion=conclusion,
        identity=identity,
    )
    output = Dataset()
    output.file_meta = file_meta(sop_class_uid=kind.sop_class_uid, sop_instance_uid=uids.instance)
    output.SOPClassUID = kind.sop_class_uid
    output.SOPInstanceUID = uids.instance
    output.SeriesInstanceUID = uids.series
    output.InstanceNumber = 1
    output.Modality = kind.modality
    output.SeriesNumber = kind.series_number
    output.SeriesDescription = kind.series_description
    output.InstanceCreatorUID = IMPLEMENTATION_CLASS_UID
    _add_times(output, source.local(now), with_zone=source.time_zone is not None)
    _add_equipment(output, conclusion.model)
    _inherit(output, header)
    return output


def add_request_attributes(output: Dataset, header: Dataset) -> None:
    """Copy Request Attributes Sequence from the source (PS3.3 table 10-9)."""
    requests = copy_element(header, "RequestAttributesSequence")
    if requests is not None:
        output[requests.tag] = requests


def request_items(header: Dataset, source: Source) -> list[list[RawDataElement]]:
    """Convert the source's requests to items of Referenced Request Sequence (PS3.3 C.17.2).

    An image has them in Request Attributes Sequence (PS3.3 table 10-9), where most of the
    attributes that the report's sequence requires are optional: a missing one is taken from the
    study or left empty.
    """
    return [
        [
            raw_element(tag_of("StudyInstanceUID"), source.study_instance_uid.encode()),
            *(
                copy_element(item, keyword)
                or (copy_element(header, keyword) if keyword in OF_THE_STUDY else None)
                or raw_element(tag_of(keyword), b"")
                for keyword in REQUEST
            ),
        ]
        for item in sequence_items(header, "RequestAttributesSequence")
        if any(tag_of(keyword) in item for keyword in REQUEST)
    ]


def _add_times(output: Dataset, moment: datetime, *, with_zone: bool) -> None:
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    for event in ("InstanceCreation", "Series", "Content"):
        setattr(output, f"{event}Date", date)
        setattr(output, f"{event}Time", time)
    if with_zone:
        output.TimezoneOffsetFromUTC = moment.strftime("%z")


def _add_equipment(output: Dataset, model: Model) -> None:
    """Add General Equipment (PS3.3 C.7.5.2), and the algorithm as IHE AIR requires."""
    output.Manufacturer = MANUFACTURER
    output.ManufacturerModelName = MANUFACTURER
    output.DeviceSerialNumber = model.weights_sha256[:SERIAL_NUMBER_DIGITS]
    output.SoftwareVersions = VERSION
    algorithm = Dataset()
    algorithm.PurposeOfReferenceCodeSequence = [
        code_item("109102", "DCM", "Processing Equipment")  # CID 7005
    ]
    algorithm.Manufacturer = MANUFACTURER
    algorithm.ManufacturerModelName = ascii_text(model.name)
    algorithm.DeviceSerialNumber = output.DeviceSerialNumber
    algorithm.SoftwareVersions = ascii_text(model.version)
    algorithm.DeviceUID = device_uid(model)
    algorithm.ContributionDescription = f"Algorithm {model_text(model)}"
    output.ContributingEquipmentSequence = [algorithm]


def _inherit(output: Dataset, header: Dataset) -> None:
    """Copy the patient and study elements of the source; absent Type 2 ones are left empty."""
    for keyword in (*TYPE_2, *INHERITED):
        element = copy_element(header, keyword)
        if element is None and keyword in TYPE_2:
            element = raw_element(tag_of(keyword), b"")
        if element is not None:
            output[element.tag] = element
    _complete(output)
    terms = known_character_set(header)
    if terms is not None:  # lets dcmwrite take the raw elements as they are
        output.set_original_encoding(
            is_implicit_vr=False,
            is_little_endian=True,
            character_encoding=convert_encodings(list(terms)),
        )


def _complete(output: Dataset) -> None:
    """Add what the standard requires beside an optional attribute that was copied.

    Nothing is invented: an absent Type 2 attribute is left empty, and a De-identification Method
    that the source does not state is said to be so (docs/adr/0020-report.md).
    """
    if text_values(output, "PatientIdentityRemoved") == ("YES",) and not (
        text_values(output, "DeidentificationMethod")
        or sequence_items(output, "DeidentificationMethodCodeSequence")
    ):  # PS3.3 C.7.1.1: one of the two is required
        _add(output, "DeidentificationMethod", METHOD_NOT_STATED)
    if any(keyword in output for keyword in CLINICAL_TRIAL_SUBJECT):
        for keyword in CLINICAL_TRIAL_SUBJECT_TYPE_2:
            _add_if_absent(output, keyword)
    if "ClinicalTrialTimePointDescription" in output:  # PS3.3 C.7.2.3
        _add_if_absent(output, "ClinicalTrialTimePointID")


def _add_if_absent(output: Dataset, keyword: str) -> None:
    if keyword not in output:
        _add(output, keyword, b"")


def _add(output: Dataset, keyword: str, value: bytes) -> None:
    output[keyword] = raw_element(tag_of(keyword), value)
