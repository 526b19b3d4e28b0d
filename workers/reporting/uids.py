"""UIDs derived from what an output is built from: the same input has the same UIDs."""

import json
import uuid
from dataclasses import dataclass
from typing import Final

from service.dicom.implementation import MANUFACTURER, VERSION
from workers.prediction import Conclusion, Model, NotAnalysed, OperatingPoint

NAMESPACE: Final = uuid.UUID("f5534e28-fa53-43b2-8568-e954e33c98cd")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultUids:
    """The UIDs of one output, which is the only one in its series."""

    series: str
    instance: str


def derive_uid(*parts: str | float) -> str:
    """Derive a UID from these parts: a name-based UUID (RFC 9562 5.5) under 2.25 (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, json.dumps(parts)).int}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """An earlier report about the same SOP Instance UID, which another replaces."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputIdentity:
    """What distinguishes outputs about one SOP Instance UID, besides the model and its conclusion.

    Attributes:
        digest: The digest of the source's bytes, if other bytes were received under the same UID
            before: a corrected instance has outputs of its own.
        predecessor: The report that these outputs replace.
    """

    digest: str | None = None
    predecessor: Predecessor | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that enter the UIDs of the outputs."""
        named = (self.digest or "",)
        return named if self.predecessor is None else (*named, self.predecessor.sop_instance_uid)


FIRST: Final = OutputIdentity()


def result_uids(
    *, kind: str, source_uid: str, conclusion: Conclusion, identity: OutputIdentity
) -> ResultUids:
    """Derive the UIDs of an output of this kind about a source instance."""
    parts = (kind, *_concluded(conclusion), source_uid, *identity.parts)
    return ResultUids(series=derive_uid("series", *parts), instance=derive_uid("instance", *parts))


def tracking_uid(*, source_uid: str, conclusion: Conclusion, identity: OutputIdentity) -> str:
    """Derive the tracking UID of the finding, the same in every output that shows it."""
    return derive_uid("finding", *_concluded(conclusion), source_uid, *identity.parts)


def device_uid(model: Model) -> str:
    """Derive the UID of the observing device: this version of Lobar with this model."""
    return derive_uid(
        "device", MANUFACTURER, VERSION, model.name, model.version, model.weights_sha256
    )


def _concluded(conclusion: Conclusion) -> tuple[str | float, ...]:
    """Return what identifies a conclusion: the model, and the reason where nothing was analysed.

    A finding needs no part of its own, because the model determines it from the source; nor does
    the population, because the source's age does. The operating point of the other abnormality is
    a part where the model reads one. Whether a source is analysed also depends on Lobar's version
    and on the bundle's gate.
    """
    algorithm = _algorithm(conclusion.model)
    if isinstance(conclusion, NotAnalysed):
        return (*algorithm, "not-analysed", conclusion.reason)
    if conclusion.other is not None:
        return (*algorithm, "other-abnormality", *_point(conclusion.other.operating_point))
    return algorithm


def _algorithm(model: Model) -> tuple[str | float, ...]:
    return (model.name, model.version, model.weights_sha256, *_point(model.operating_point))


def _point(point: OperatingPoint) -> tuple[str | float, ...]:
    return (
        point.name,
        float(point.threshold),
        float(point.indeterminate_low),
        float(point.indeterminate_high),
    )
