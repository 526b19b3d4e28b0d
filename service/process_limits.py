"""What processes of the command set for themselves: files, core files, heap, imports, niceness.

Standard library only: the command calls it before anything else.
"""

import contextlib
import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o077
_OOM: Final = Path("/proc/self/oom_score_adj")
_HIGHEST: Final = 1000
_M_ARENA_MAX: Final = -8  # mallopt(3)
_ARENAS: Final = 2


def make_private() -> int:
    """Make new files readable by this account only, write no core files; return the umask before.

    Child processes inherit both.
    """
    before = os.umask(PRIVATE)
    forbid_core_files()
    return before


def forbid_core_files() -> None:
    """Forbid core files of this process and its children, which would hold patient data.

    One byte and not none: a limit of 0 does not keep the kernel from piping a core to a program,
    and 1 does (core(5)). A hard limit of 0 stays.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Create files by another umask while the block runs; of all threads of this process."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def die_before_others(score: int) -> None:
    """Let the kernel end this process before others when memory runs out, by `score` (proc(5)).

    It is added to what this process inherits. Raising it needs no privilege.
    """
    with contextlib.suppress(OSError, ValueError):
        _OOM.write_text(str(min(_HIGHEST, int(_OOM.read_text()) + score)))


def share_arenas() -> None:
    """Let the threads of this process share two arenas of memory, before it has several.

    The C library gives threads arenas of their own, up to eight a core, and what is free in one is
    not used by another: an infer worker has a fifteenth more memory that way. Where the library has
    no arenas, nothing changes.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


@contextmanager
def without_collection() -> Iterator[None]:
    """Collect no garbage while the block imports, nor look through what it imported later.

    Modules stay. To look through their objects again and again, as there are more and more of
    them, takes a fifth of the time in which a part starts.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without_packages(*names: str) -> Iterator[None]:
    """Refuse to import packages while the block runs, in all threads of this process.

    It is for libraries that import whatever they could use, and do without what is absent: they are
    without it from then on, while others can import it later. What is imported already stays.
    """
    refused = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(refused))  # type: ignore[arg-type] # Python refuses these
    try:
        yield
    finally:
        for name in refused:
            sys.modules.pop(name, None)


def give_way(niceness: int) -> None:
    """Let the scheduler prefer other processes to this one, with its threads and its children.

    Threads and children that begin later inherit it. A process that gives way more already keeps
    its niceness, since only a privileged one may lower it (setpriority(2)).
    """
    for process in (os.getpid(), *_descendants(os.getpid())):
        for thread in _threads(process):
            with contextlib.suppress(OSError):  # it ended meanwhile
                present = os.getpriority(os.PRIO_PROCESS, thread)
                os.setpriority(os.PRIO_PROCESS, thread, max(present, niceness))


def _descendants(process: int) -> Iterator[int]:
    for thread in _threads(process):
        children = Path(f"/proc/{process}/task/{thread}/children")
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from _descendants(child)


def _threads(process: int) -> Sequence[int]:
    with contextlib.suppress(OSError):
        return [int(each.name) for each in Path(f"/proc/{process}/task").iterdir()]
    return ()
