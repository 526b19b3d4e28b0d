"""What decides how fast a network runs here, and which instructions may be used for it."""

import hashlib
import os
import platform
from pathlib import Path
from typing import Final

_CPU_INFO: Final = Path("/proc/cpuinfo")
_GPU_DEVICES: Final = ("nvidia[0-9]*", "nvidiactl", "kfd", "dxg")  # CUDA, ROCm, WSL


def describe_machine(cpu_info: Path = _CPU_INFO) -> dict[str, str]:
    """Return the processor, a digest of its features, and how many cores this process may use.

    Args:
        cpu_info: proc(5), cpuinfo.
    """
    read = _first_of_each(cpu_info)
    features = read.get("flags") or read.get("Features", "")
    return {
        "processor": read.get("model name") or platform.machine(),
        "features": hashlib.sha256(features.encode()).hexdigest()[:16],
        "cores": str(len(os.sched_getaffinity(0))),
    }


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Return whether there may be a GPU for torch, without asking torch, which costs seconds."""
    return any(any(devices.glob(name)) for name in _GPU_DEVICES)


def _first_of_each(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.partition(":") for line in lines]
    return {name.strip(): value.strip() for name, _, value in reversed(pairs)}
