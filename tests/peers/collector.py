"""Receivers of OpenTelemetry spans: Rotel, a real collector, and a stand-in that keeps what comes.

Rotel decodes what it gets and exports it again, here to the stand-in, which tests read. The
stand-in alone answers as a test says; it decodes with OpenTelemetry's own definitions.
"""

import gzip
import ssl
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from support.system.http import HTTP
from support.system.ports import LOOPBACK, free_port
from support.system.process import Server

from peers.web_service import Request, Response, WebService

PATH: Final = "/v1/traces"
Value = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSpan:
    """A span as a collector got it; ids in hexadecimal."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    began: int  # nanoseconds since the epoch
    ended: int
    failed: bool
    attributes: dict[str, Value]
    resource: dict[str, Value]


@dataclass
class StandInCollector:
    """A stand-in for a collector: it keeps the spans of each request that it answers with 200."""

    answer: Callable[[Request], Response | None] = lambda _: Response(200)
    port: int = field(default_factory=free_port)
    tls: ssl.SSLContext | None = None
    spans: list[ReceivedSpan] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        """The address that spans are posted to."""
        return f"{'https' if self.tls else 'http'}://{LOOPBACK}:{self.port}{PATH}"

    @contextmanager
    def running(self) -> Iterator["StandInCollector"]:
        """Listen on loopback while the block runs."""
        with WebService(self._take, port=self.port, tls=self.tls).running():
            yield self

    def steps(self, trace_id: str) -> list[str]:
        """Return the names of the spans of a trace, in the order in which they ended."""
        return [each.name for each in self.of(trace_id)]

    def of(self, trace_id: str) -> list[ReceivedSpan]:
        """Return the spans of a trace, in the order in which they ended."""
        found = [each for each in self.spans if each.trace_id == trace_id]
        return sorted(found, key=lambda each: each.ended)

    def _take(self, request: Request) -> Response | None:
        response = self.answer(request)
        self.requests.append(request)
        if response is not None and response.status == 200:
            assert request.path == PATH
            is_gzip = request.headers.get("content-encoding") == "gzip"
            self.spans.extend(decoded(gzip.decompress(request.body) if is_gzip else request.body))
        return response


class Rotel:
    """Streamfold's Rotel, of PyPI: a running collector that exports to another."""

    def __init__(self, folder: Path, exported_to: StandInCollector) -> None:
        folder.mkdir()
        self.port = free_port()
        self.endpoint = f"http://{LOOPBACK}:{self.port}{PATH}"
        self._server = Server(
            [
                Path(sysconfig.get_path("purelib")) / "rotel" / "rotel-agent",
                *("start", "--otlp-http-endpoint", f"{LOOPBACK}:{self.port}"),
                *("--otlp-grpc-endpoint", f"{LOOPBACK}:{free_port()}"),
                *("--batch-timeout", "200ms", "--exporter", "otlp"),
                *("--otlp-exporter-endpoint", f"http://{LOOPBACK}:{exported_to.port}"),
                *("--otlp-exporter-protocol", "http", "--otlp-exporter-compression", "none"),
            ],
            log=folder / "log",
            answers=self._answers,
        )
        self.start = self._server.start
        self.stop = self._server.stop
        self.kill = self._server.kill

    def _answers(self) -> bool:
        headers = {"Content-Type": "application/x-protobuf"}
        try:
            return HTTP.post(self.endpoint, content=b"", headers=headers).status_code == 200
        except httpx.TransportError:
            return False


def decoded(body: bytes) -> Iterator[ReceivedSpan]:
    """Yield the spans of a request."""
    for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _values(of_process.resource.attributes)
        for scope in of_process.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    began=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                    attributes=_values(span.attributes),
                    resource=resource,
                )


def _values(attributes: Sequence[KeyValue]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for each in attributes:
        assert each.key not in values, "an attribute is there once"
        kind = each.value.WhichOneof("value")
        assert kind is not None
        values[each.key] = getattr(each.value, kind)
    return values
