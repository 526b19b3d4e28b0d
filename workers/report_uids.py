"""UIDs that follow from what a result is made of: the same input gives the same object."""

import json
import uuid
from dataclasses import dataclass
from typing import Final

from service.identity import MANUFACTURER, VERSION
from workers.prediction import Model

NAMESPACE: Final = uuid.UUID("f5534e28-fa53-43b2-8568-e954e33c98cd")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultUids:
    """The names of one result; every result is alone in its series."""

    series: str
    instance: str


def derive_uid(*parts: str | float) -> str:
    """Give the UID of these parts: a name-based UUID (RFC 9562 5.5) under 2.25 (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, json.dumps(parts)).int}"


def result_uids(*, kind: str, source_uid: str, model: Model, digest: str | None) -> ResultUids:
    """Name the result of a kind that a model gives for a source instance.

    `digest` is the sha256 of the source's bytes when other bytes came under the same SOP Instance
    UID before: a corrected instance gets a result of its own, in a series of its own.
    """
    parts = (kind, *_algorithm(model), source_uid, digest or "")
    return ResultUids(series=derive_uid("series", *parts), instance=derive_uid("instance", *parts))


def tracking_uid(*, source_uid: str, model: Model, digest: str | None) -> str:
    """Name the finding itself: the same in every result that tells of it."""
    return derive_uid("finding", *_algorithm(model), source_uid, digest or "")


def device_uid(model: Model) -> str:
    """Name the device that observed: this Lobar with this model. Another model is another one."""
    return derive_uid(
        "device", MANUFACTURER, VERSION, model.name, model.version, model.weights_sha256
    )


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
