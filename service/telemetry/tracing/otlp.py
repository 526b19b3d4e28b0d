"""Encode spans as an OTLP request (OpenTelemetry Protocol 1.3, binary encoding).

Attributes pass the allow list of the log, so that a span never says more than a log event may.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from service.dicom.implementation import VERSION
from service.telemetry.structured_log import allowed
from service.telemetry.tracing.spans import Span, Step

CONTENT_TYPE: Final = "application/x-protobuf"

_SPAN_BYTES: Final = 8
_NANOSECONDS: Final = 1_000_000_000
_KINDS: Final = {
    Step.RECEIVE: trace_pb2.Span.SPAN_KIND_SERVER,
    Step.DELIVER: trace_pb2.Span.SPAN_KIND_CLIENT,
}
_FLAGS: Final = 0x03  # sampled, and a trace id with random bits (W3C Trace Context 2, 3.2.2.5)


def encode(spans: Sequence[Span], resource: Mapping[str, str]) -> bytes:
    """Encode spans of one process.

    Args:
        spans: The spans.
        resource: What is said of the process, by OpenTelemetry's names.
    """
    scope = trace_pb2.ScopeSpans(
        scope=InstrumentationScope(name="lobar", version=VERSION),
        spans=[_span(each) for each in spans],
    )
    said = Resource(attributes=[_attribute(name, value) for name, value in resource.items()])
    of_process = trace_pb2.ResourceSpans(resource=said, scope_spans=[scope])
    encoded: bytes = ExportTraceServiceRequest(resource_spans=[of_process]).SerializeToString()
    return encoded


def rejected_spans(response: bytes) -> int:
    """Return how many spans of a request the collector did not take, by its response.

    Raises:
        DecodeError: The response is none.
    """
    said = ExportTraceServiceResponse.FromString(response)
    return int(said.partial_success.rejected_spans)


def root_span_id(job_id: str) -> bytes:
    """Return the id of the root span of a job's trace: every process derives the same."""
    return hashlib.sha256(f"lobar root span {job_id}".encode()).digest()[:_SPAN_BYTES]


def _span(span: Span) -> trace_pb2.Span:
    root = root_span_id(span.job_id)
    fields = {"job_id": span.job_id, **span.fields}
    encoded = trace_pb2.Span(
        trace_id=bytes.fromhex(span.job_id),
        span_id=root if span.is_root else secrets.token_bytes(_SPAN_BYTES),
        parent_span_id=b"" if span.is_root else root,
        flags=_FLAGS,
        name=span.step,
        kind=_KINDS.get(span.step, trace_pb2.Span.SPAN_KIND_INTERNAL),
        start_time_unix_nano=span.ended_at - round(span.seconds * _NANOSECONDS),
        end_time_unix_nano=span.ended_at,
        attributes=[
            _attribute(f"lobar.{name}", allowed(name, value))
            for name, value in fields.items()
            if value is not None
        ],
    )
    if span.error is not None:
        encoded.status.code = trace_pb2.Status.STATUS_CODE_ERROR
        encoded.attributes.append(_attribute("error.type", allowed("error", span.error)))
    return encoded


def _attribute(name: str, value: object) -> KeyValue:
    match value:
        case bool():
            said = AnyValue(bool_value=value)
        case int():
            said = AnyValue(int_value=value)
        case float():
            said = AnyValue(double_value=value)
        case _:
            said = AnyValue(string_value=str(value))
    return KeyValue(key=name, value=said)
