"""Verdicts as the API takes and shows them."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.domain.verdict import Opinion, Verdict

NO_CONTROL: Final = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
"""Text of a person: no control character but a tab and the ends of lines."""

FindingName = Literal["present", "absent", "indeterminate"]


def _by_opinion(schema: dict[str, Any]) -> None:
    """Say in the schema too that the right finding comes with the opinion disagree alone."""
    properties = schema.pop("properties")
    right, _ = properties.pop("right_finding").pop("anyOf")  # it is left out, not null
    others = {**properties, "opinion": {"enum": ["agree", "unsure"], "type": "string"}}
    disagree = {**properties, "opinion": {"const": "disagree"}, "right_finding": right}
    common = {"type": "object", "additionalProperties": False}
    required = schema.pop("required")
    schema["oneOf"] = [
        {**common, "properties": others, "required": required},
        {**common, "properties": disagree, "required": [*required, "right_finding"]},
    ]
    del schema["additionalProperties"]


class VerdictRequest(BaseModel):
    """A verdict on the current report of a job."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, json_schema_extra=_by_opinion
    )

    report_uid: Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
    opinion: Literal["agree", "disagree", "unsure"]
    right_finding: FindingName | None = None  # with `disagree` only
    comment: Annotated[str, Field(max_length=2000, pattern=NO_CONTROL)] = ""

    @model_validator(mode="after")
    def _require_right_finding(self) -> Self:
        if (self.right_finding is not None) != (self.opinion == "disagree"):
            raise ValueError("right_finding belongs to the opinion disagree, and only to it")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictResponse:
    """A person's verdict on a report; `service.domain.verdict.Verdict` documents each field."""

    id: int | None
    at: float
    user: str
    opinion: Opinion
    right_finding: str | None
    comment: str
    job_id: str
    report_uid: str
    sop_instance_uid: str
    finding: str
    probability: float
    operating_point: str
    model: str
    population: str | None

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """Build the response for a verdict."""
        return cls(
            id=verdict.id,
            at=verdict.at,
            user=verdict.user,
            opinion=verdict.opinion,
            right_finding=verdict.right_finding,
            comment=verdict.comment,
            job_id=verdict.job_id,
            report_uid=verdict.report_uid,
            sop_instance_uid=verdict.sop_instance_uid,
            finding=verdict.finding,
            probability=verdict.probability,
            operating_point=verdict.operating_point,
            model=verdict.model,
            population=verdict.population,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictListResponse:
    """The verdicts on the reports of a job, the oldest first."""

    verdicts: list[VerdictResponse]
