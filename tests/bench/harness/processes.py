"""What processes cost: time of the processor, and memory."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from support.lobar_process import processes_of


def processor_seconds(pids: Iterable[int]) -> float:
    """Return what processes and those that they started have used, ended ones included."""
    total = 0.0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            total += sum(times[:4])  # user, system, and both of ended children
            for child in process.children(recursive=True):
                total += sum(child.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


def seconds_by_role(state_dir: Path) -> dict[str, float]:
    """Return what the processes of a service have used, by role, ended children included."""
    found: dict[str, float] = defaultdict(float)
    for pid in processes_of(state_dir):
        try:
            process = psutil.Process(pid)
            found[role_of(process)] += sum(process.cpu_times()[:4])
        except psutil.Error:  # it ended meanwhile
            continue
    return found


def role_of(process: psutil.Process) -> str:
    """Return the role of a process of a service, or the name of another program."""
    words = process.cmdline()
    if "service.cli" not in words:
        return Path(words[0]).name.split()[0].strip(":") if words else "ended"
    verbs = words[words.index("service.cli") + 1 :]
    return {"up": "supervisor", "worker": verbs[-1]}.get(verbs[0], verbs[0])
