"""Spans of steps: what they say, and that there are none unless somebody takes them."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers.collector import ReceivedSpan, decoded

from service.telemetry.structured_log import DROPPED
from service.telemetry.tracing.otlp import encode, root_span_id
from service.telemetry.tracing.spans import Span, Step, Timed, record_span, use_sink

ROOT = Path(__file__).resolve().parents[4]
JOB = uuid.uuid4().hex


@pytest.fixture
def taken() -> Iterator[list[Span]]:
    spans: list[Span] = []
    use_sink(spans.append)
    yield spans
    use_sink(None)


def sent(*spans: Span) -> list[ReceivedSpan]:
    return list(decoded(encode(spans, {"service.name": "lobar"})))


def test_without_a_sink_a_step_is_timed_and_nothing_is_recorded(taken: list[Span]) -> None:
    use_sink(None)
    with Timed((JOB,), Step.DECODE) as decoding:
        pass
    record_span(JOB, Step.RECEIVE, 1)
    assert decoding.seconds > 0
    assert taken == []


def test_a_step_with_several_jobs_has_a_span_in_the_trace_of_each(taken: list[Span]) -> None:
    other = uuid.uuid4().hex
    with Timed((JOB, other), Step.PREDICT, batch=2) as predicting:
        pass
    assert [each.job_id for each in taken] == [JOB, other]
    assert {each.seconds for each in taken} == {predicting.seconds}
    assert [each.fields for each in taken] == [{"batch": 2}, {"batch": 2}]


def test_what_is_raised_fails_the_step_and_its_text_is_nowhere(taken: list[Span]) -> None:
    with pytest.raises(ValueError, match="Doe"), Timed((JOB,), Step.DECODE):
        raise ValueError("Doe^Jane")
    (span,) = sent(*taken)
    assert span.failed
    assert span.attributes["error.type"] == "builtins.ValueError"
    assert b"Doe" not in encode(taken, {})


def test_a_refusal_names_its_reason_and_is_no_failure(taken: list[Span]) -> None:
    decoding = Timed((JOB,), Step.DECODE)
    decoding.refuse("no-pixels")
    with pytest.raises(ValueError, match="x"), decoding:
        raise ValueError("x")
    (span,) = sent(*taken)
    assert not span.failed
    assert span.attributes["lobar.reason"] == "no-pixels"


def test_a_refused_output_is_a_failure_with_its_status(taken: list[Span]) -> None:
    with Timed((JOB,), Step.DELIVER, destination="pacs", kind="sr") as sending:
        sending.add(status="0xA700")
        sending.fail("0xA700")
    (span,) = sent(*taken)
    assert (span.failed, span.kind) == (True, "CLIENT")
    assert span.attributes == {
        "lobar.job_id": JOB,
        "lobar.destination": "pacs",
        "lobar.kind": "sr",
        "lobar.status": "0xA700",
        "error.type": "0xA700",
    }


def test_the_trace_has_the_id_of_the_job_and_the_others_are_children_of_the_root(
    taken: list[Span],
) -> None:
    with Timed((JOB,), Step.DECODE):  # perhaps in another process, and first exported
        pass
    record_span(JOB, Step.RECEIVE, 0.25, is_root=True, size_bytes=12, repeated=False)
    child, root = sent(*taken)
    assert {child.trace_id, root.trace_id} == {JOB}
    assert (root.span_id, root.parent_id) == (root_span_id(JOB).hex(), "")
    assert child.parent_id == root.span_id != child.span_id
    assert root.ended - root.began == 250_000_000
    assert root.attributes["lobar.repeated"] is False
    assert root.resource == {"service.name": "lobar"}


def test_an_attribute_says_no_more_than_the_log_may(taken: list[Span]) -> None:
    record_span(JOB, Step.DELIVER, 1, destination="Doe^Jane", patient="Doe", count="Doe", port=1)
    (span,) = sent(*taken)
    kept = {name: value for name, value in span.attributes.items() if name != "lobar.job_id"}
    assert kept == {
        "lobar.destination": DROPPED,
        "lobar.patient": DROPPED,
        "lobar.count": DROPPED,
        "lobar.port": 1,
    }


def test_what_is_not_known_is_left_out(taken: list[Span]) -> None:
    record_span(JOB, Step.REPORT, 1, reason=None, attempt=2)
    (span,) = sent(*taken)
    assert span.attributes == {"lobar.job_id": JOB, "lobar.attempt": 2}


def test_without_an_endpoint_nothing_of_it_is_loaded() -> None:
    program = (
        "import sys\n"
        "from service.settings import TracingSettings\n"
        "from service.telemetry.tracing.starting import spans_exported\n"
        "with spans_exported(TracingSettings(), 'listener'):\n"
        "    from service.telemetry.tracing.spans import _sinks\n"
        "    print(_sinks, {'opentelemetry', 'google.protobuf', 'httpx'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "[] set()\n"
