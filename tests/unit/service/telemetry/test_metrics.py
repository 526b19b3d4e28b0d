import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from service.dicom.statuses import REJECTION_STATUSES
from service.domain.reasons import Reason
from service.telemetry import metrics
from service.telemetry.metrics import status_label

ROOT = Path(__file__).resolve().parents[4]
METRICS = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]

COUNTING = """
import sys
from pathlib import Path
from service.telemetry.metrics_directory import use_metrics_dir
use_metrics_dir(Path(sys.argv[1]))
from service.telemetry import metrics
for _ in range(int(sys.argv[2])):
    metrics.PREDICTIONS.labels(finding="present").inc()
    metrics.BATCH_SIZE.observe(8)
metrics.ASSOCIATIONS_OPEN.inc(2)
print("counted", flush=True)
sys.stdin.read()
"""
FORKING = COUNTING.replace("metrics.ASSOC", "import os\nos.fork()\nmetrics.ASSOC")
READING = """
import sys
from pathlib import Path
from service.telemetry.metrics_directory import use_metrics_dir
use_metrics_dir(Path(sys.argv[1]))
from prometheus_client import CollectorRegistry
from service.telemetry import metrics
from service.telemetry.scrape import exposition
for _ in range(2):
    page, content_type = exposition(CollectorRegistry())
sys.stdout.write(page.decode())
"""


class Counting:
    """A process that counts `times`, says so and waits."""

    def __init__(self, directory: Path, times: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", COUNTING, directory, str(times)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def wait_until_counted(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"counted\n"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Counting]]:
    processes = [Counting(tmp_path, times) for times in (100, 20, 3)]
    for each in processes:
        each.wait_until_counted()
    yield processes
    for each in processes:
        each.end()


def read(directory: Path) -> dict[str, float]:
    page = subprocess.run(
        [sys.executable, "-c", READING, directory], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    lines = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_the_sum_over_processes_is_exact_and_a_killed_one_keeps_its_counts(
    tmp_path: Path, three: list[Counting]
) -> None:
    present = 'lobar_predictions_total{finding="present"}'
    before = read(tmp_path)
    assert before[present] == 123
    assert before["lobar_batch_instances_sum"] == 8 * 123
    assert before['lobar_batch_instances_bucket{le="4.0"}'] == 0
    assert before['lobar_batch_instances_bucket{le="8.0"}'] == 123
    assert before["lobar_associations_open"] == 6
    three[0].process.send_signal(signal.SIGKILL)
    three[0].process.wait()
    after = read(tmp_path)
    assert {**after, "lobar_associations_open": 6} == before
    assert after["lobar_associations_open"] == 4


def test_the_files_of_the_dead_do_not_pile_up(tmp_path: Path, three: list[Counting]) -> None:
    for each in three:
        each.end()
    assert read(tmp_path)['lobar_predictions_total{finding="present"}'] == 123
    left = {path.name for path in tmp_path.iterdir() if not re.search("[0-9a-f]{32}", path.name)}
    assert left == {"counter_gathered.db", "histogram_gathered.db", "gather.lock"}
    again = Counting(tmp_path, 7)
    again.wait_until_counted()
    again.end()
    assert read(tmp_path)['lobar_predictions_total{finding="present"}'] == 130


def test_a_file_torn_by_a_power_cut_does_not_silence_the_others(
    tmp_path: Path, three: list[Counting]
) -> None:
    three[0].end()
    assert read(tmp_path)['lobar_predictions_total{finding="present"}'] == 123
    (tmp_path / "counter_gathered.db").write_bytes(b"\xff" * 64)
    three[1].end()
    assert read(tmp_path)['lobar_predictions_total{finding="present"}'] == 23


def test_a_forked_child_counts_under_an_identity_of_its_own(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, tmp_path, "1"],
        cwd=ROOT,
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert len(list(tmp_path.glob("*.alive"))) == 2
    assert read(tmp_path)['lobar_predictions_total{finding="present"}'] == 1


def test_a_late_choice_of_the_directory_is_refused_because_it_would_not_be_counted_in(
    tmp_path: Path,
) -> None:
    from service.telemetry.metrics_directory import use_metrics_dir  # noqa: PLC0415

    assert "prometheus_client" in sys.modules
    with pytest.raises(RuntimeError, match="before any import"):
        use_metrics_dir(tmp_path)
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ  # noqa: TID251


def test_every_metric_has_the_prefix_and_a_sentence_of_help() -> None:
    assert len(METRICS) >= 20
    for metric in METRICS:
        family = next(iter(metric.collect()))
        assert family.name.startswith("lobar_")
        assert family.documentation.endswith(".")


def test_no_label_takes_text_from_the_wire() -> None:
    closed = {
        *("source", "reason", "outcome", "stage", "until", "finding", "destination", "status"),
        *("opinion", "peer"),
        *("queue", "name", "version", "weights_sha256", "operating_point", "device", "role"),
        *("fault", "population", "action"),
        *("reported", "shadow", "failure"),
    }
    assert {label for metric in METRICS for label in metric._labelnames} <= closed


@pytest.mark.parametrize(
    ("status", "label"),
    [(0x0000, "0000"), (0xB000, "B000"), (0xA701, "A700"), (0xA900, "A900"), (0xC1FF, "C000")],
)
def test_a_status_is_labelled_by_its_row_in_the_standards_table(status: int, label: str) -> None:
    assert status_label(status) == label


@pytest.mark.parametrize(
    ("metric", "reasons"),
    [
        (metrics.INSTANCES_REJECTED, set(REJECTION_STATUSES)),
        (metrics.NOT_ANALYSED, {each for each in Reason if str(each).startswith("decoder-")}),
        (metrics.PARKED, {Reason.ATTEMPTS_EXHAUSTED, Reason.DESTINATION_REMOVED}),
    ],
)
def test_a_reason_is_counted_from_0_because_an_increase_misses_the_first_count(
    metric: MetricWrapperBase, reasons: set[Reason]
) -> None:
    (family,) = metric.collect()
    counted = {Reason(sample.labels["reason"]) for sample in family.samples}
    assert reasons <= counted


def test_every_reason_is_counted_by_one_metric() -> None:
    reasons = [
        sample.labels["reason"]
        for metric in (metrics.INSTANCES_REJECTED, metrics.NOT_ANALYSED, metrics.PARKED)
        for family in metric.collect()
        for sample in family.samples
    ]
    assert sorted(reasons) == sorted(map(str, Reason))


def test_whatever_a_destination_answers_there_are_few_labels() -> None:
    assert len({status_label(status) for status in range(0x10000)}) < 40


def test_a_full_disk_cannot_end_a_process_that_counts(tmp_path: Path) -> None:
    """A file with holes would: writing into one on a full disk is SIGBUS."""
    counting = subprocess.run(
        [sys.executable, "-c", COUNTING, str(tmp_path), "1"],
        input=b"",
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    assert counting.stdout == b"counted\n"
    files = list(tmp_path.glob("*.db"))
    assert files
    for file in files:
        assert file.stat().st_blocks * 512 >= file.stat().st_size, file.name
