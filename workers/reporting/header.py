"""Everything of a result that is not its content: whose it is, who made it, when, from what."""

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
from workers.reporting.raw_elements import carried, items, known_character_set, raw_element, tag_of
from workers.reporting.source import Source
from workers.reporting.uids import OutputIdentity, device_uid, result_uids
from workers.reporting.wording import ascii_text, model_text

ANALYSED_BODY_PART: Final = "CHEST"  # of a source that names none (PS3.16 annex L)

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

INHERITED: Final = (  # of the modules that all instances of a study share, what is text
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
    """Give a coded entry (PS3.3 table 8.8-1)."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def referenced_instance(source: Source) -> Dataset:
    """Give an item that refers to the source (PS3.3 table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_instance_uid
    return item


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What sets the results of one kind apart; each is alone in its series."""

    output: OutputKind
    sop_class_uid: str
    modality: str
    series_number: int
    series_description: str


def begin_result(
    kind: Kind,
    header: Dataset,
    source: Source,
    conclusion: Conclusion,
    *,
    now: datetime,
    identity: OutputIdentity,
) -> Dataset:
    """Begin a result about a source: all modules but the content of the object itself."""
    uids = result_uids(
        kind=kind.output,
        source_uid=source.sop_instance_uid,
        conclusion=conclusion,
        identity=identity,
    )
    result = Dataset()
    result.file_meta = file_meta(sop_class_uid=kind.sop_class_uid, sop_instance_uid=uids.instance)
    result.SOPClassUID = kind.sop_class_uid
    result.SOPInstanceUID = uids.instance
    result.SeriesInstanceUID = uids.series
    result.InstanceNumber = 1
    result.Modality = kind.modality
    result.SeriesNumber = kind.series_number
    result.SeriesDescription = kind.series_description
    result.InstanceCreatorUID = IMPLEMENTATION_CLASS_UID
    _add_times(result, source.local(now), with_zone=source.time_zone is not None)
    _add_equipment(result, conclusion.model)
    _inherit(result, header)
    return result


def add_request_attributes(result: Dataset, header: Dataset) -> None:
    """Carry the requests that an image answers, where its class has them as an image has."""
    requests = carried(header, "RequestAttributesSequence")
    if requests is not None:
        result[requests.tag] = requests


def request_items(header: Dataset, source: Source) -> list[list[RawDataElement]]:
    """Give the requests that the source answers, as items of Referenced Request Sequence.

    An image names them in its Request Attributes Sequence (PS3.3 table 10-9), where most of what
    the report's sequence asks for may be absent: it is then taken from the study, or left empty.
    """
    return [
        [
            raw_element(tag_of("StudyInstanceUID"), source.study_instance_uid.encode()),
            *(
                carried(item, keyword)
                or (carried(header, keyword) if keyword in OF_THE_STUDY else None)
                or raw_element(tag_of(keyword), b"")
                for keyword in REQUEST
            ),
        ]
        for item in items(header, "RequestAttributesSequence")
        if any(tag_of(keyword) in item for keyword in REQUEST)
    ]


def _add_times(result: Dataset, moment: datetime, *, with_zone: bool) -> None:
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    for event in ("InstanceCreation", "Series", "Content"):
        setattr(result, f"{event}Date", date)
        setattr(result, f"{event}Time", time)
    if with_zone:
        result.TimezoneOffsetFromUTC = moment.strftime("%z")


def _add_equipment(result: Dataset, model: Model) -> None:
    """Say who made this: General Equipment (PS3.3 C.7.5.2), and the algorithm as IHE AIR asks."""
    result.Manufacturer = MANUFACTURER
    result.ManufacturerModelName = MANUFACTURER
    result.DeviceSerialNumber = model.weights_sha256[:SERIAL_NUMBER_DIGITS]
    result.SoftwareVersions = VERSION
    algorithm = Dataset()
    algorithm.PurposeOfReferenceCodeSequence = [
        code_item("109102", "DCM", "Processing Equipment")  # CID 7005
    ]
    algorithm.Manufacturer = MANUFACTURER
    algorithm.ManufacturerModelName = ascii_text(model.name)
    algorithm.DeviceSerialNumber = result.DeviceSerialNumber
    algorithm.SoftwareVersions = ascii_text(model.version)
    algorithm.DeviceUID = device_uid(model)
    algorithm.ContributionDescription = f"Algorithm {model_text(model)}"
    result.ContributingEquipmentSequence = [algorithm]


def _inherit(result: Dataset, header: Dataset) -> None:
    for keyword in (*TYPE_2, *INHERITED):
        element = carried(header, keyword)
        if element is None and keyword in TYPE_2:
            element = raw_element(tag_of(keyword), b"")
        if element is not None:
            result[element.tag] = element
    terms = known_character_set(header)
    if terms is not None:  # lets dcmwrite take the raw elements as they are
        result.set_original_encoding(
            is_implicit_vr=False,
            is_little_endian=True,
            character_encoding=convert_encodings(list(terms)),
        )
