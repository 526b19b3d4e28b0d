"""A whole service whose spans go through a real collector: one trace for each instance."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from peers.collector import ReceivedSpan, Rotel, StandInCollector
from peers.raw_scu import Sender, data_set_bytes
from peers.scripted_pacs import ScriptedPacs
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from support.lobar_process import LobarService, destination, wait_for
from support.system.http import HTTP
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.dicom.statuses import SUCCESS
from service.domain.job import JobState
from service.telemetry.tracing.otlp import root_span_id

CR: Final = str(ComputedRadiographyImageStorage)
WHOLE: Final = sorted(["receive", "keep", "decode", "predict", "report", "deliver", "deliver"])
FULL: Final = 0xA700


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    service: LobarService
    collector: StandInCollector  # what the real one exports to
    rotel: Rotel

    def store(self, dataset: Dataset) -> None:
        contexts = ((CR, str(ExplicitVRLittleEndian)),)
        with Sender(self.service.dicom_port, contexts) as sender:
            sent = sender.store(CR, str(dataset.SOPInstanceUID), data_set_bytes(dataset))
            assert sent == SUCCESS
            sender.release()

    def trace_of(self, job_id: str, steps: list[str]) -> dict[str, ReceivedSpan]:
        """Wait until the trace of a job has these spans; return one of each name."""
        wait_for(lambda: sorted(self.collector.steps(job_id)) == steps)
        return {each.name: each for each in self.collector.of(job_id)}

    def command(self, *words: str) -> str:
        prefix = [*self.service.command_prefix(), sys.executable, "-m", "service.cli"]
        return subprocess.run([*prefix, *words], check=True, capture_output=True, text=True).stdout


def full_for(dataset: Dataset) -> int:
    return FULL if str(dataset.PatientID) == "FULL" else SUCCESS


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    with StandInCollector().running() as collector, ScriptedPacs(answer=full_for).running() as pacs:
        rotel = Rotel(folder / "rotel", collector)
        rotel.start()
        service = LobarService(
            folder,
            [destination(pacs, "pacs")],
            LOBAR_TRACING__ENDPOINT=rotel.endpoint,
            LOBAR_TRACING__PAGE="https://jaeger.example.org/trace/{trace_id}",
            # of others: nothing of Lobar's may follow them
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
            FASTAPI_OTEL_AUTO_CONFIGURE="true",
        )
        service.start()
        try:
            yield Traced(service=service, collector=collector, rotel=rotel)
        finally:
            service.stop()
            rotel.kill()


def small(**header: Any) -> Dataset:  # noqa: ANN401 -- any of make_cr
    return make_cr(rows=128, columns=128, **header)


@pytest.mark.slow
def test_an_instance_has_one_trace_over_all_processes(traced: Traced) -> None:
    dataset = small()
    traced.store(dataset)
    job = traced.service.settled(str(dataset.SOPInstanceUID))
    assert job.state is JobState.DELIVERED
    spans = traced.trace_of(job.id, WHOLE)
    root = spans["receive"]
    assert (root.span_id, root.parent_id) == (root_span_id(job.id).hex(), "")
    assert {each.parent_id for name, each in spans.items() if name != "receive"} == {root.span_id}
    assert {name: each.resource["lobar.part"] for name, each in spans.items()} == {
        **dict.fromkeys(("receive", "keep"), "listener"),
        **dict.fromkeys(("decode", "predict", "report"), "infer"),
        "deliver": "deliver",
    }
    assert len({each.resource["service.instance.id"] for each in spans.values()}) == 3
    in_order = [spans[name] for name in ("receive", "decode", "predict", "report", "deliver")]
    assert [each.ended for each in in_order] == sorted(each.ended for each in in_order)
    assert all(each.began <= each.ended for each in spans.values())
    assert not any(each.failed for each in spans.values())
    assert root.attributes["lobar.size_bytes"] == job.size_bytes
    assert spans["decode"].attributes["lobar.attempt"] == 1
    assert spans["deliver"].attributes["lobar.destination"] == "pacs"
    assert spans["deliver"].attributes["lobar.status"] == "0x0000"


@pytest.mark.slow
def test_the_command_and_the_page_of_the_job_show_the_trace(traced: Traced) -> None:
    dataset = small()
    traced.store(dataset)
    job = traced.service.settled(str(dataset.SOPInstanceUID))
    page = f"https://jaeger.example.org/trace/{job.id}"
    told = json.loads(traced.command("trace", job.id, "--json"))
    assert (told["trace_id"], told["trace_page"]) == (job.id, page)
    shown = HTTP.get(f"{traced.service.url}/jobs/{job.id}").raise_for_status().text
    assert re.search(rf'<dt>Trace id</dt><dd class="id"><a href="{page}"[^>]*>{job.id}</a>', shown)


@pytest.mark.slow
def test_a_repeat_and_an_upload_are_in_the_trace_of_their_job(traced: Traced) -> None:
    dataset = small()
    files = {"files": ("a.dcm", part10(dataset), "application/dicom")}
    HTTP.post(f"{traced.service.url}/api/v1/instances", files=files).raise_for_status()
    job = traced.service.settled(str(dataset.SOPInstanceUID))
    spans = traced.trace_of(job.id, WHOLE)
    assert spans["receive"].resource["lobar.part"] == "web"
    assert spans["receive"].attributes["lobar.source"] == "upload"
    traced.store(dataset)
    traced.trace_of(job.id, sorted([*WHOLE, "receive", "keep"]))
    receiving = [each for each in traced.collector.of(job.id) if each.name == "receive"]
    assert [each.attributes["lobar.repeated"] for each in receiving] == [False, True]
    assert receiving[1].parent_id == receiving[0].span_id


@pytest.mark.slow
def test_what_a_destination_refuses_is_a_failed_span_for_each_try(traced: Traced) -> None:
    dataset = small()
    dataset.PatientID = "FULL"
    traced.store(dataset)
    (job,) = wait_for(lambda: traced.service.jobs(str(dataset.SOPInstanceUID)))

    def tries() -> list[ReceivedSpan]:
        return [each for each in traced.collector.of(job.id) if each.name == "deliver"]

    wait_for(lambda: any(each.attributes["lobar.attempt"] == 2 for each in tries()))
    assert all(each.failed for each in tries())
    assert {each.attributes["error.type"] for each in tries()} == {"0xA700"}


@pytest.mark.slow
def test_a_collector_that_is_down_delays_no_instance_and_gets_the_spans_later(
    traced: Traced,
) -> None:
    traced.rotel.kill()
    datasets = [small() for _ in range(3)]
    for dataset in datasets:
        traced.store(dataset)
    jobs = [traced.service.settled(str(each.SOPInstanceUID)) for each in datasets]
    assert {each.state for each in jobs} == {JobState.DELIVERED}
    wait_for(lambda: "spans_not_exported" in traced.service.log.read_text())
    assert traced.service.is_ready()
    traced.rotel.start()
    for job in jobs:
        traced.trace_of(job.id, WHOLE)
    wait_for(lambda: "spans_exported_again" in traced.service.log.read_text())
    assert traced.service.metrics()['lobar_trace_spans_total{outcome="exported"}'] >= 3 * len(WHOLE)


@pytest.mark.slow
def test_pages_make_no_spans_whatever_the_variables_of_opentelemetry_say(traced: Traced) -> None:
    for path in ("/", "/?q=Zzyzx", "/jobs/QX-7731", "/fhir/Observation/Zzyzx", "/health/live"):
        HTTP.get(f"{traced.service.url}{path}")
    dataset = small()
    traced.store(dataset)  # whose spans come later than those of the pages would
    job = traced.service.settled(str(dataset.SOPInstanceUID))
    traced.trace_of(job.id, WHOLE)
    assert {each.name for each in traced.collector.spans} <= set(WHOLE)
    assert all(request.path == "/v1/traces" for request in traced.collector.requests)
    assert not any("Zzyzx" in str(each) for each in traced.collector.spans)
