"""The patient and the study of an instance, as its header names them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What people find an instance by; blank where the header says nothing.

    Dates are as DICOM writes them, YYYYMMDD (PS3.5 table 6.2-1).
    """

    patient_name: str = ""  # decoded, all its component groups (PS3.5 6.2.1)
    patient_id: str = ""
    birth_date: str = ""
    sex: str = ""
    accession_number: str = ""
    study_date: str = ""
    modality: str = ""
    view_position: str = ""
