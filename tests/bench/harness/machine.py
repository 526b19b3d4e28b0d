"""A description of the machine, without a name or a path of it."""

import os
import platform
import re
import sqlite3
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from support.system.programs import find_program

from service.dicom.implementation import VERSION

_PACKAGES: Final = ("torch", "openvino", "onnxruntime", "pydicom", "pynetdicom", "highdicom")
_SYNCS: Final = 40


def describe() -> dict[str, str]:
    """Return what a reader of the figures needs to know of the machine they were measured on."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Lobar": VERSION,
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "GPU": _gpu(),
        "system": f"{platform.system()} {platform.release()}",
        **_limited_threads(),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "file system": _file_system(),
        "fsync of 4 KiB": f"{_sync_milliseconds():.2f} ms",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        **{name: found for name in _PACKAGES if (found := _version(name))},
        "Orthanc": _program_version("Orthanc"),
        "DCMTK": _program_version("storescp"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _limited_threads() -> dict[str, str]:
    """Return the limit of a network's threads that the measured processes inherit."""
    threads = os.environ.get("OMP_NUM_THREADS")  # noqa: TID251 -- of the processes measured
    return {"OMP_NUM_THREADS": threads} if threads else {}


def _gpu() -> str:
    program = find_program("nvidia-smi")
    if program is None:
        return "none"
    asked = [str(program), "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(asked, check=False, capture_output=True, text=True)
    return ", ".join(found.stdout.split("\n")).strip(", ") or "none"


def _file_system() -> str:
    """Return the type of the file system of temporary files, on which the spools are."""
    folder = str(Path(tempfile.gettempdir()).resolve())
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(len(point), kind) for point, kind in mounts if (folder + "/").startswith(point)]
    return max(holding)[1] if holding else "unknown"


def _sync_milliseconds() -> float:
    taken = []
    with tempfile.TemporaryFile() as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _program_version(name: str) -> str:
    program = find_program(name)
    if program is None:
        return "not here"
    found = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    numbers = re.search(r"\d+(?:\.\d+)+", found.stdout)
    return numbers[0] if numbers else "unknown"
