"""A radiologist's verdict on a report."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Opinion(StrEnum):
    """What a radiologist thinks of a finding."""

    AGREE = "agree"
    DISAGREE = "disagree"
    UNSURE = "unsure"


FINDINGS: Final = ("present", "absent", "indeterminate")
"""What a finding can be, and so what the right one can be."""

LONGEST_COMMENT: Final = 2000  # characters


class VerdictError(ValueError):
    """The verdict contradicts itself or has nothing to judge; the message is for a person."""


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
    digest: str
    finding: str
    probability: float
    operating_point: str
    model: str
    population: str | None


def require_consistent(opinion: Opinion, right_finding: str | None, finding: str | None) -> None:
    """Require that an opinion and the right finding go together with the report's finding.

    Raises:
        VerdictError: they do not.
    """
    if finding is None:
        raise VerdictError("The report has no finding to agree or disagree with.")
    if opinion is not Opinion.DISAGREE:
        if right_finding is not None:
            raise VerdictError("Only who disagrees names another finding as the right one.")
    elif right_finding not in FINDINGS:
        raise VerdictError("Who disagrees says what is right: present, absent or indeterminate.")
    elif right_finding == finding:
        raise VerdictError(f"The report says {finding} too: that is no disagreement.")
