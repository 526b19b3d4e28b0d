"""The export of spans: to a collector that takes, refuses, is slow, or is not there."""

import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from peers.collector import PATH, StandInCollector
from peers.web_service import Request, Response
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from support.lobar_process import wait_for
from support.system.certificates import Authority
from support.system.ports import LOOPBACK, free_port

from service.settings import ConfigurationError, TracingSettings
from service.telemetry.tracing.exporting import Collector, CollectorError, SpanExporter
from service.telemetry.tracing.spans import Span, Step

ROOT = Path(__file__).resolve().parents[4]
Counted = Callable[[], dict[str, float]]


@pytest.fixture
def counted() -> Counted:
    """Return how many spans of each outcome were counted since the test began."""

    def now() -> dict[str, float]:
        outcomes = ("exported", "refused", "dropped")
        name = "lobar_trace_spans_total"
        return {each: REGISTRY.get_sample_value(name, {"outcome": each}) or 0 for each in outcomes}

    before = now()

    def since() -> dict[str, float]:
        grown = {name: value - before[name] for name, value in now().items()}
        return {name: value for name, value in grown.items() if value}

    return since


def span(job_id: str = "") -> Span:
    return Span(
        job_id=job_id or uuid.uuid4().hex,
        step=Step.DECODE,
        ended_at=1_000_000_000,
        seconds=0.5,
        is_root=False,
        error=None,
        fields={},
    )


@contextmanager
def exporter(endpoint: str, **settings: Any) -> Iterator[SpanExporter]:  # noqa: ANN401 -- any of the section
    most = settings.pop("most_waiting", 100)
    made = SpanExporter(TracingSettings(endpoint=endpoint, **settings), "infer", most_waiting=most)
    try:
        yield made
    finally:
        made.close()


def test_spans_reach_the_collector_when_the_process_ends(counted: Counted) -> None:
    with StandInCollector().running() as collector:
        with exporter(collector.endpoint, service_name="lobar-north") as spans:
            for _ in range(3):
                spans.put(span())
        assert [each.name for each in collector.spans] == ["decode"] * 3
        (resource,) = {tuple(each.resource.items()) for each in collector.spans}
        assert dict(resource)["service.name"] == "lobar-north"
        assert dict(resource)["lobar.part"] == "infer"
        assert collector.requests[0].headers["content-type"] == "application/x-protobuf"
        assert "authorization" not in collector.requests[0].headers
    assert counted() == {"exported": 3}


def test_only_the_share_of_jobs_is_traced_and_all_spans_of_each() -> None:
    settings = TracingSettings(endpoint=f"http://{LOOPBACK}:1{PATH}", share=0.25)
    jobs = [uuid.uuid4().hex for _ in range(400)]
    traced = [each for each in jobs if settings.trace_id(each)]
    assert 50 < len(traced) < 150
    with StandInCollector().running() as collector:
        with exporter(collector.endpoint, share=0.25, most_waiting=1000) as spans:
            for each in jobs:
                spans.put(span(each))
                spans.put(span(each))
        assert sorted(each.trace_id for each in collector.spans) == sorted(traced * 2)


def test_what_a_collector_refuses_is_counted_and_not_sent_again(counted: Counted) -> None:
    with StandInCollector(lambda _: Response(400)).running() as collector, capture_logs() as log:
        with exporter(collector.endpoint) as spans:
            spans.put(span())
        assert len(collector.requests) == 1
    assert counted() == {"refused": 1}
    assert [(each["event"], each["reason"]) for each in log] == [("spans_not_exported", "http-400")]


def test_a_redirect_is_not_followed(counted: Counted) -> None:
    elsewhere = StandInCollector()
    moved = Response(307, headers={"Location": elsewhere.endpoint})
    moving = StandInCollector(lambda _: moved)
    with elsewhere.running(), moving.running(), exporter(moving.endpoint) as spans:
        spans.put(span())
    assert elsewhere.requests == []
    assert counted() == {"refused": 1}


def test_spans_that_a_collector_rejects_of_a_request_are_counted(counted: Counted) -> None:
    rejected = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=2, error_message="too old")
    )
    answer = Response(200, rejected.SerializeToString())
    with (
        StandInCollector(lambda _: answer).running() as collector,
        exporter(collector.endpoint) as spans,
    ):
        for _ in range(5):
            spans.put(span())
    assert counted() == {"exported": 3, "refused": 2}


def test_a_collector_that_answers_in_words_has_taken_them(counted: Counted) -> None:
    with (
        StandInCollector(lambda _: Response(200, b"thank you")).running() as collector,
        exporter(collector.endpoint) as spans,
    ):
        spans.put(span())
    assert counted() == {"exported": 1}


def test_a_busy_collector_is_asked_again_and_the_recovery_is_logged(counted: Counted) -> None:
    def answer(_: Request) -> Response:
        return Response(200 if len(collector.requests) else 503)

    collector = StandInCollector(answer)
    with collector.running(), capture_logs() as log, exporter(collector.endpoint) as spans:
        spans.put(span())
        wait_for(lambda: collector.spans)
    assert counted() == {"exported": 1}
    assert [each["event"] for each in log] == ["spans_not_exported", "spans_exported_again"]


def test_while_no_collector_is_there_spans_are_dropped_and_nobody_waits(counted: Counted) -> None:
    with exporter(f"http://{LOOPBACK}:{free_port()}{PATH}", most_waiting=10) as spans:
        for _ in range(50):
            spans.put(span())
        dropped = counted().get("dropped", 0)
        assert dropped >= 30  # ten wait, and the thread may have taken as many
    assert counted() == {"dropped": 50}


def test_a_collector_that_never_answers_delays_neither_the_work_nor_the_end() -> None:
    asked, over = threading.Event(), threading.Event()

    def hang(_: Request) -> Response:
        asked.set()
        over.wait()
        return Response(200)

    with StandInCollector(hang).running() as collector:
        made = SpanExporter(TracingSettings(endpoint=collector.endpoint), "infer", most_waiting=5)
        made.put(span())
        assert asked.wait(30)
        for _ in range(100):
            made.put(span())
        made.close(seconds=0.05)  # it returns although the answer is still awaited
        assert not over.is_set()
        over.set()


def test_an_exporter_without_spans_ends_at_once() -> None:
    made = SpanExporter(TracingSettings(endpoint=f"http://{LOOPBACK}:{free_port()}{PATH}"), "web")
    made.close(seconds=30)
    assert not made._thread.is_alive()


def test_a_token_is_sent_and_not_quoted_when_it_is_none(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret==\n")
    with StandInCollector().running() as collector:
        with exporter(collector.endpoint, bearer_token_file=file) as spans:
            spans.put(span())
        assert collector.requests[0].headers["authorization"] == "Bearer s3cret=="
    file.write_text("s3cret with blanks")
    settings = TracingSettings(endpoint=collector.endpoint, bearer_token_file=file)
    with pytest.raises(ConfigurationError, match="holds no bearer token") as error:
        Collector(settings)
    assert "s3cret" not in str(error.value)
    file.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Collector(settings)


def test_a_collector_over_tls_is_trusted_by_its_authority_and_shown_a_certificate(
    authority: Authority, tmp_path: Path
) -> None:
    tls = authority.server_context(authority.issue("collector"))
    own = authority.issue("lobar")
    with StandInCollector(tls=tls).running() as collector:
        known = {"endpoint": collector.endpoint, "ca_file": authority.certificate}
        shown = {"client_certificate_file": own.certificate, "client_key_file": own.key}
        assert Collector(TracingSettings(**known, **shown)).ask().endswith("takes spans")
        for settings in (known, {**shown, "endpoint": collector.endpoint}):
            with pytest.raises(CollectorError, match="does not answer"):
                Collector(TracingSettings(**settings)).ask()
    for name in ("ca_file", "client_certificate_file"):
        unusable = TracingSettings(**{**known, **shown, name: tmp_path / "none.pem"})
        with pytest.raises(ConfigurationError, match=f"tracing.{name} .* cannot be used"):
            Collector(unusable)


def test_variables_of_opentelemetry_and_of_proxies_have_no_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://{LOOPBACK}:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-from-environment=1")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with StandInCollector().running() as collector:
        with exporter(collector.endpoint) as spans:
            spans.put(span())
        assert len(collector.spans) == 1
        assert "x-from-environment" not in collector.requests[0].headers


def test_without_the_extra_an_endpoint_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text(
        "raise ModuleNotFoundError('no', name='opentelemetry')"
    )
    program = (
        "from service.settings import ConfigurationError\n"
        "from service.telemetry.tracing.starting import load_exporting\n"
        "try: load_exporting()\n"
        "except ConfigurationError as exc: print(exc)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout == "tracing.endpoint needs the extra otel: pip install 'lobar[otel]'.\n"


def test_a_collector_that_asks_for_a_sign_in_is_named_by_its_answer() -> None:
    with (
        StandInCollector(lambda _: Response(401)).running() as collector,
        pytest.raises(CollectorError, match="answers 401, not 200"),
    ):
        Collector(TracingSettings(endpoint=collector.endpoint)).ask()
