"""What each process of the command sets for itself, and its children inherit."""

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

from service.process_limits import umask

ROOT: Final = Path(__file__).resolve().parents[3]
PROGRAM: Final = """
import os, resource, subprocess, sys
from service.process_limits import die_before_others, make_private
os.umask(0o022)
print(oct(make_private()))
open(sys.argv[1], "w").close()
os.mkdir(sys.argv[1] + ".d")
child = subprocess.run(["sh", "-c", "umask; ulimit -c"], capture_output=True, text=True)
print(child.stdout.split())
before = int(open("/proc/self/oom_score_adj").read())
die_before_others(600)
after = int(open("/proc/self/oom_score_adj").read())
print(after == min(1000, before + 600))
print(resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_files_are_private_and_no_core_is_written_and_memory_runs_out_elsewhere_last(
    tmp_path: Path,
) -> None:
    made = tmp_path / "made"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, made],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    limit = 0 if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 else 1
    before, inherited, scored, cores = done.stdout.splitlines()
    assert (before, scored) == ("0o22", "True")
    assert inherited == "['0077', '0']", "a byte is less than a block of ulimit"
    assert cores == f"({limit}, {limit})"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(f"{made}.d").stat().st_mode) == 0o700


GIVING_WAY: Final = """
import os, subprocess, threading
from service.process_limits import give_way

def niceness(): return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

def nicenesses():
    children = [os.getpriority(os.PRIO_PROCESS, each.pid) for each in (before, of_thread, after)]
    with condition:
        condition.notify_all()
    earlier.join()
    return [niceness(), found["earlier"], *children]

def wait():
    with condition:
        of_threads.append(subprocess.Popen(["sleep", "60"]))
        condition.notify_all()
        condition.wait()
        found["earlier"] = niceness()

condition, found, of_threads = threading.Condition(), {}, []
before = subprocess.Popen(["sleep", "60"])
earlier = threading.Thread(target=wait)
with condition:
    earlier.start()
    condition.wait()
(of_thread,) = of_threads
give_way(7)
after = subprocess.Popen(["sleep", "60"])
print(nicenesses())
give_way(3)
print(niceness())
for each in (before, of_thread, after): each.kill()
"""


def test_a_process_gives_way_with_its_threads_and_children_and_never_less_than_before() -> None:
    done = subprocess.run(
        ["nice", "-n", "2", sys.executable, "-c", GIVING_WAY],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["[7, 7, 7, 7, 7]", "7"]


def test_the_umask_of_a_block_is_taken_back(tmp_path: Path) -> None:
    with umask(0o022):
        (tmp_path / "open").touch()
    (tmp_path / "private").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("open", "private")]
    assert modes == [0o644, 0o600]


def test_a_process_that_crashes_leaves_no_core(tmp_path: Path) -> None:
    crashing = "from service.process_limits import make_private; import os; make_private(); "
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); {crashing}os.abort()",
        ],
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode < 0
    assert not os.WCOREDUMP(-done.returncode)
    assert list(tmp_path.iterdir()) == []


ALLOCATING: Final = """
import ctypes, sys, threading
from service.process_limits import share_arenas

if sys.argv[1] == "shared":
    share_arenas()
library, barrier = ctypes.CDLL(None), threading.Barrier(8)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def allocate():
    barrier.wait()
    for _ in range(100):
        library.free(library.malloc(64))
    barrier.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for each in threads:
    each.start()
for each in threads:
    each.join()
library.malloc_stats()
"""


def test_threads_share_two_arenas_of_memory() -> None:
    arenas = {
        kind: subprocess.run(
            [sys.executable, "-c", ALLOCATING, kind],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stderr.count("Arena ")
        for kind in ("shared", "as it is")
    }
    assert arenas["shared"] == 2
    assert arenas["as it is"] > 2


WITHOUT: Final = """
import json, sys
from service.process_limits import without_packages
try:
    with without_packages("colorsys", "json"):
        import json
        import colorsys
except ImportError as error:
    print(error.name)
print(sys.modules["json"] is json, "colorsys" in sys.modules)
import colorsys
"""


def test_packages_are_refused_while_a_block_runs_but_those_that_are_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["colorsys", "True False"]
