"""What is said of a machine, read from the folders of the kernel."""

from pathlib import Path

from workers.inference.engines.machine import describe_machine, has_gpu

CPU_INFO = """processor	: 0
model name	: A processor
flags		: fpu avx2
processor	: 1
model name	: Another
flags		: fpu
"""


def test_a_machine_is_its_first_processor_its_features_and_cores(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPU_INFO)
    found = describe_machine(tmp_path / "cpuinfo")
    assert found["processor"] == "A processor"
    assert int(found["cores"]) >= 1
    (tmp_path / "cpuinfo").write_text(CPU_INFO.replace("avx2", "avx512f"))
    assert describe_machine(tmp_path / "cpuinfo")["features"] != found["features"]


def test_a_machine_without_that_file_is_described_by_its_architecture(tmp_path: Path) -> None:
    assert describe_machine(tmp_path / "none")["processor"]


def test_a_gpu_is_known_by_its_device(tmp_path: Path) -> None:
    assert not has_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert has_gpu(tmp_path)
