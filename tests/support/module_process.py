"""Run a Python module as a program, in a process in which its libraries are imported already.

`python -m monai.bundle` imports torch and MONAI for seconds before it does anything, and `lobar`
its libraries for one. Here a server process imports them once for a whole test run, and each
program runs in a fork of that process. What does depend on a new interpreter (start-up time, which
modules are loaded) needs a real one.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from typing import Final

_SECONDS: Final = 280  # less than the time limit of a test
_PROCESSES: Final = multiprocessing.get_context("forkserver")
_LIBRARIES: Final = (
    *("monai.bundle", "pydicom", "pynetdicom", "highdicom", "reportlab.pdfgen.canvas"),
    *("alembic.command", "pydantic_settings", "rich.console", "sqlalchemy", "structlog", "typer"),
)
_PROCESSES.set_forkserver_preload([*_LIBRARIES])


def run_module(
    folder: Path, module: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run `python -m module arguments` in `folder`, with pytest's environment or this one.

    Returns:
        The exit status and what the program wrote.

    Raises:
        TimeoutError: the program did not end.
    """
    with TemporaryDirectory() as written:
        streams = (Path(written) / "stdout", Path(written) / "stderr")
        process = _PROCESSES.Process(
            target=_run, args=(folder, module, arguments, environment, streams)
        )
        process.start()
        process.join(_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{module} {' '.join(arguments)}")
        output, errors = (stream.read_text() for stream in streams)
    return CompletedProcess([module, *arguments], process.exitcode, output, errors)


def _run(
    folder: Path,
    module: str,
    arguments: tuple[str, ...],
    environment: Mapping[str, str] | None,
    streams: tuple[Path, Path],
) -> None:
    for stream, descriptor in zip(streams, (1, 2), strict=True):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), descriptor)
    if environment is not None:
        os.environ.clear()  # noqa: TID251 -- what the program reads
        os.environ.update(environment)  # noqa: TID251 -- what the program reads
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
