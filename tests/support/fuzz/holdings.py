"""What a process holds, and whether it grew: memory, descriptors, threads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a process holds at one moment."""

    resident_bytes: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Read what a process holds (proc(5))."""
        process = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return cls(
            resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
            descriptors=len(list((process / "fd").iterdir())),
            threads=int(status["Threads"]),
        )


def growth(before: Holdings, after: Holdings, *, bytes_allowed: int) -> list[str]:
    """Name what grew by more than is allowed: a leak in each of hundreds of cases shows."""
    few = 8  # connections of the pool of the ledger, opened when they are first needed
    found = []
    if after.resident_bytes > before.resident_bytes + bytes_allowed:
        more = (after.resident_bytes - before.resident_bytes) / MEBIBYTE
        found.append(f"{more:.0f} MiB more of memory")
    if after.descriptors > before.descriptors + few:
        found.append(f"{after.descriptors - before.descriptors} more descriptors")
    if after.threads > before.threads + few:
        found.append(f"{after.threads - before.threads} more threads")
    return found
