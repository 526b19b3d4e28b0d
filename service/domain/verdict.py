"""A radiologist's verdict on a report."""

from dataclasses import dataclass
from enum import StrEnum


class Opinion(StrEnum):
    """What a radiologist thinks of a finding."""

    AGREE = "agree"
    DISAGREE = "disagree"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One opinion of one person on one report; a later one of the same person replaces it.

    It outlives its job: what retraining needs of the instance is copied into it.
    """

    id: int | None = None  # the ledger's number; None until it is recorded
    at: float  # seconds since the epoch
    user: str
    opinion: Opinion
    right_finding: str | None  # present, absent or indeterminate, where the opinion is disagree
    comment: str
    job_id: str
    report_uid: str  # SOP Instance UID of the report that was judged
    sop_instance_uid: str  # of the radiograph
    sha256: str
    finding: str
    probability: float
    operating_point: str
    model: str
    population: str | None
