"""The response models of the JSON API and of `lobar trace --json`.

Each field name here is part of the public API. Names in `service.domain` may change
independently: a response is built from them field by field. Times are seconds since the epoch.
"""

from service.web.schemas.jobs import (
    DeliveryResponse,
    EventResponse,
    JobDetailResponse,
    JobListResponse,
    JobResponse,
    OtherAbnormalityResponse,
    OutputResponse,
    ReferenceResponse,
    RevisionResponse,
)

__all__ = [
    "DeliveryResponse",
    "EventResponse",
    "JobDetailResponse",
    "JobListResponse",
    "JobResponse",
    "OtherAbnormalityResponse",
    "OutputResponse",
    "ReferenceResponse",
    "RevisionResponse",
]
