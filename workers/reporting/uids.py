"""UIDs that follow from what a result is made of: the same input gives the same object."""

import json
import uuid
from dataclasses import dataclass
from typing import Final

from service.dicom.implementation import MANUFACTURER, VERSION
from workers.prediction import Conclusion, Model, NotAnalysed

NAMESPACE: Final = uuid.UUID("f5534e28-fa53-43b2-8568-e954e33c98cd")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultUids:
    """The names of one result; every result is alone in its series."""

    series: str
    instance: str


def derive_uid(*parts: str | float) -> str:
    """Give the UID of these parts: a name-based UUID (RFC 9562 5.5) under 2.25 (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, json.dumps(parts)).int}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """A report of ours whose place another takes."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputIdentity:
    """What tells the outputs about one SOP Instance UID apart, besides who concluded what.

    `digest` is the sha256 of the source's bytes when other bytes came under the same UID before: a
    corrected instance gets results of its own. `predecessor` is the report whose place these take.
    """

    digest: str | None = None
    predecessor: Predecessor | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Give what goes into the names of its outputs."""
        named = (self.digest or "",)
        return named if self.predecessor is None else (*named, self.predecessor.sop_instance_uid)


FIRST: Final = OutputIdentity()


def result_uids(
    *, kind: str, source_uid: str, conclusion: Conclusion, identity: OutputIdentity
) -> ResultUids:
    """Name the output of a kind that tells a conclusion about a source instance."""
    parts = (kind, *_concluded(conclusion), source_uid, *identity.parts)
    return ResultUids(series=derive_uid("series", *parts), instance=derive_uid("instance", *parts))


def tracking_uid(*, source_uid: str, conclusion: Conclusion, identity: OutputIdentity) -> str:
    """Name the finding itself: the same in every output that tells of it."""
    return derive_uid("finding", *_concluded(conclusion), source_uid, *identity.parts)


def device_uid(model: Model) -> str:
    """Name the device that observed: this Lobar with this model. Another model is another one."""
    return derive_uid(
        "device", MANUFACTURER, VERSION, model.name, model.version, model.weights_sha256
    )


def _concluded(conclusion: Conclusion) -> tuple[str | float, ...]:
    """Give who concluded; and what, where it does not follow from who alone.

    Which headers and pixels go unread is for Lobar's version to say, and for the bundle's gate.
    """
    algorithm = _algorithm(conclusion.model)
    if isinstance(conclusion, NotAnalysed):
        return (*algorithm, "not-analysed", conclusion.reason)
    return algorithm


def _algorithm(model: Model) -> tuple[str | float, ...]:
    point = model.operating_point
    return (
        model.name,
        model.version,
        model.weights_sha256,
        point.name,
        float(point.threshold),
        float(point.indeterminate_low),
        float(point.indeterminate_high),
    )
