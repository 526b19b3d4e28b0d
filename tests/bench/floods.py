"""Print how long a sender needs to get in and complete, beside each kind of flood.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.floods [ROUNDS]

The bar: a legitimate storescu and echoscu get in at the first try, within 2 s, whatever flood runs.
The times are of DCMTK's programs from start to end, so that the start of a process counts too.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from peers.raw_scu import VERIFICATION, Sender, associate_rq
from pydicom.uid import ImplicitVRLittleEndian
from support.floods import OTHERS, flooding
from support.listener import CR, CR_EXPLICIT
from support.listener_process import ListenerProcess
from support.system.ports import LOOPBACK
from support.system.programs import need_program
from synthetic.objects import make_cr

ROUNDS: Final = 40
REQUEST: Final = associate_rq(
    ((VERIFICATION, str(ImplicitVRLittleEndian)),), calling="X", called="LOBAR"
)
EVERYBODY: Final = (*OTHERS, LOOPBACK)
FLOODS: Final[dict[str, dict[str, Any]]] = {
    "no flood": {},
    "1,000 idle connections": {"count": 1000},
    "1,000 half requests": {"count": 1000, "says": REQUEST[:-1]},
    "1,000 requests that drip": {"count": 1000, "drips": REQUEST},
    "2,000 where 1,024 may wait": {"count": 2000},
    "200 that send garbage": {"count": 200, "says": b"GET / HTTP/1.1\r\n\r\n"},
}


def main() -> None:
    """Start a listener and print a line for each flood and program."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        file = Path(name) / "instance.dcm"
        make_cr(rows=512, columns=512).save_as(file, enforce_file_format=True)
        listener = ListenerProcess(Path(name))
        listener.start()
        try:
            for flood, options in FLOODS.items():
                with ExitStack() as stack:
                    if options:
                        stack.enter_context(flooding(listener.port, sources=EVERYBODY, **options))
                    _measure(listener, flood, file, rounds)
            with _slow_senders(listener):
                _measure(listener, "64 associations that drip", file, rounds)
        finally:
            listener.kill()


@contextmanager
def _slow_senders(listener: ListenerProcess) -> Iterator[None]:
    with ExitStack() as senders:
        for _ in range(64):
            sender = senders.enter_context(
                Sender(listener.port, CR_EXPLICIT, calling="SLOW", source=OTHERS[0])
            )
            sender.begin_store(CR, "2.25.1")
        yield


def _measure(listener: ListenerProcess, flood: str, file: Path, rounds: int) -> None:
    for name, files in (("echoscu", []), ("storescu", [file])):
        seconds, failed = [], 0
        where = ["--aetitle", "LEGITIMATE", "--call", "LOBAR", LOOPBACK, str(listener.port)]
        for _ in range(rounds):
            began = time.perf_counter()
            done = subprocess.run(
                [need_program(name), *where, *map(str, files)], capture_output=True, check=False
            )
            seconds.append(time.perf_counter() - began)
            failed += done.returncode != 0
        seconds.sort()
        print(
            f"{flood:<28} {name:<9} p50 {statistics.median(seconds) * 1000:5.0f} ms, "
            f"p95 {seconds[int(0.95 * rounds)] * 1000:5.0f} ms, "
            f"most {seconds[-1] * 1000:5.0f} ms, failed {failed} of {rounds}"
        )


if __name__ == "__main__":
    main()
