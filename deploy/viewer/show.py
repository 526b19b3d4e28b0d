"""`make viewer`: show Lobar's results in OHIF, in front of Orthanc.

Orthanc, OHIF and Lobar run in a temporary directory, reachable from this machine only, until
Ctrl-C; then the directory is removed. Each file is sent to Lobar and stored in Orthanc.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from archive import LOOPBACK, Archive
from child import StartError, running
from gateway import OHIF
from rich.console import Console

from service.console import file_name
from service.demo.run import (
    SAMPLES,
    DemoFailedError,
    Sent,
    free_port,
    open_ledger,
    outcome_in_words,
    send,
    service_running,
    wait_for_jobs,
    wait_until_ready,
)
from service.domain.job import Job

GATEWAY = Path(__file__).with_name("gateway.py")


def main(arguments: Sequence[str]) -> int:
    """Show these files, or the samples, until Ctrl-C, and return the exit status."""
    console = Console()
    for number in (signal.SIGINT, signal.SIGTERM):  # clean up after either signal
        signal.signal(number, signal.default_int_handler)
    directory = Path(tempfile.mkdtemp(prefix="lobar-viewer-"))
    try:
        _show(
            console, [Path(each) for each in arguments] or sorted(SAMPLES.glob("*.dcm")), directory
        )
    except (StartError, DemoFailedError) as exc:
        console.print(f"[red]The viewer did not start.[/red] {exc}", highlight=False)
        return 1  # the directory is kept for its logs
    except KeyboardInterrupt:
        pass
    shutil.rmtree(directory)
    return 0


def _show(console: Console, files: Sequence[Path], directory: Path) -> None:
    web_port, dicom_port = free_port(), free_port()
    archive = Archive(directory / "orthanc")
    with (
        archive.running(),
        _viewer_running(archive, directory) as viewer,
        service_running(directory, archive.destination, dicom_port, web_port) as process,
    ):
        with console.status("Starting Orthanc, OHIF and Lobar"):
            wait_until_ready(f"http://{LOOPBACK}:{web_port}/", process, directory)
        sent = send(console, files, dicom_port)
        for each in sent:
            if each.instance is not None:
                archive.keep(each.instance)
        ledger = open_ledger(directory)
        jobs = wait_for_jobs(console, ledger, sent)
        ledger.close()
        _print_results(console, viewer, sent, jobs)
        _wait_for_interrupt(process)


@contextmanager
def _viewer_running(archive: Archive, directory: Path) -> Iterator[str]:
    """Run OHIF in front of the archive, and yield its address."""
    if not OHIF.is_dir():
        raise StartError("OHIF is missing: deploy/setup/ohif.sh fetches it.")
    port = free_port()
    address = f"http://{LOOPBACK}:{port}/"
    with running(
        [sys.executable, GATEWAY, "--port", str(port), "--orthanc", archive.url],
        log=directory / "viewer.log",
        answers_at=address,
    ):
        yield address


def _print_results(
    console: Console, viewer: str, sent: Sequence[Sent], jobs: Mapping[str, Job]
) -> None:
    """Print the outcome and address of each file; an address is never broken over two lines."""
    for each in sent:
        outcome = outcome_in_words(each, jobs.get(each.sop_instance_uid))
        console.print(f"\n{file_name(each.file)}: {outcome}", markup=False, highlight=False)
        if each.instance is not None:
            study = each.instance.StudyInstanceUID
            console.print(f"  {viewer}viewer?StudyInstanceUIDs={study}", soft_wrap=True)
    console.print(f"\nAll studies: {viewer}   Ctrl-C stops everything and removes the directory.")
    console.print("Not a medical device: research use only.")


def _wait_for_interrupt(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    raise StartError("The service ended unexpectedly.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
