import time

from service.telemetry.metrics import PART_CPU_SECONDS, PART_MEMORY, PART_OPEN_FILES
from service.telemetry.usage import PartUsage


def value(metric: object) -> float:
    return float(metric._value.get())  # type: ignore[attr-defined]


def test_the_processor_time_since_the_last_call_is_counted_once() -> None:
    usage, counted = PartUsage("relay"), PART_CPU_SECONDS.labels(role="relay")
    before = value(counted)
    usage.record()
    used = time.process_time()
    while time.process_time() < used + 0.05:
        pass
    usage.record()
    usage.record()
    spent = value(counted) - before
    assert time.process_time() - 0.05 < spent <= time.process_time()


def test_memory_and_open_files_are_those_of_this_process() -> None:
    usage = PartUsage("web")
    usage.record()
    memory, files = value(PART_MEMORY.labels(role="web")), value(PART_OPEN_FILES.labels(role="web"))
    assert memory > 10 << 20
    with open("/dev/null"):  # noqa: PTH123 -- any file will do
        usage.record()
        assert value(PART_OPEN_FILES.labels(role="web")) == files + 1
