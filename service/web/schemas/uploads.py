"""Uploads as the API shows them."""

from dataclasses import dataclass
from typing import Self

from service.domain.job import Receipt
from service.web.problem import Problem
from service.web.schemas.problems import ProblemResponse
from service.web.uploading.uploads import Uploaded


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedResponse:
    """The outcome for one file."""

    name: str  # as the request calls it
    job_id: str | None  # None where it was refused
    repeated: bool  # the same bytes were received before
    corrects: str | None  # the first job with the same SOP Instance UID and other bytes
    problem: ProblemResponse | None  # why it was refused

    @classmethod
    def of(cls, uploaded: Uploaded) -> Self:
        """Build the response for one file."""
        result = uploaded.result
        receipt = result if isinstance(result, Receipt) else None
        problem = ProblemResponse.of(result) if isinstance(result, Problem) else None
        return cls(
            name=uploaded.name,
            job_id=receipt.job_id if receipt else None,
            repeated=bool(receipt and receipt.repeated),
            corrects=receipt.corrects if receipt else None,
            problem=problem,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResponse:
    """The outcome for each file of one request, in their order."""

    instances: list[UploadedResponse]
