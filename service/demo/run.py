"""Run a complete service on this machine, send it files and show the reports.

The service runs in a temporary directory. Each file is sent over C-STORE, as a modality sends it,
and a stand-in for a PACS stores the reports.
"""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RE_VALID_UID
from pynetdicom import AE
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from service.console import file_name
from service.demo.pacs import AE_TITLE, LOOPBACK, StandInPacs
from service.dicom.reactor_pause import held, install
from service.dicom.secondary_capture import SNIFFED_BYTES, PictureError, kind_of, wrap
from service.domain.job import Job, JobState
from service.domain.reasons import EXPLANATIONS
from service.settings import environment_without_settings
from service.storage.ledger import Ledger
from service.supervision.supervisor import die_with_parent, lobar_command

SAMPLES: Final = Path(__file__).resolve().parent / "samples"
READY_SECONDS: Final = 180  # loading the model is slow on a cold disk and one core
QUIET_SECONDS: Final = 120  # give up when no job changes for that long
_FINISHED: Final = frozenset({JobState.DELIVERED, JobState.NOT_ANALYSED, JobState.PARKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A file and the outcome of its C-STORE: a SOP Instance UID, or why there is none."""

    file: Path
    sop_instance_uid: str = ""
    at: float = 0.0  # seconds since the epoch, when its C-STORE began
    refusal: str = ""
    instance: Dataset | None = None  # as sent; PNG and JPEG are wrapped first


class DemoFailedError(Exception):
    """The demonstration cannot continue; the message says why."""


def run_demo(files: Sequence[Path], *, keep: bool) -> int:
    """Send the files, or the samples, and return the exit status: 0 if every report arrived."""
    console = Console()
    files = list(files) or sorted(SAMPLES.glob("*.dcm"))
    directory = Path(tempfile.mkdtemp(prefix="lobar-demo-"))
    if not files:
        console.print(f"No sample in {SAMPLES}: name the files to send.")
        return 1
    try:
        with StandInPacs(directory / "pacs").running() as pacs:
            return _demonstrate(console, files, directory, pacs, keep=keep)
    except DemoFailedError as exc:
        console.print(f"[red]The demonstration failed.[/red] {exc}", highlight=False)
        return 1


def _demonstrate(
    console: Console, files: Sequence[Path], directory: Path, pacs: StandInPacs, *, keep: bool
) -> int:
    dicom_port, web_port = free_port(), free_port()
    destination = {"name": "pacs", "ae_title": AE_TITLE, "host": LOOPBACK, "port": pacs.port}
    with service_running(directory, destination, dicom_port, web_port) as process:
        page = f"http://{LOOPBACK}:{web_port}/"
        with console.status("Starting listener, workers, relay, pages and embedded Redis"):
            wait_until_ready(page, process, directory)
        ledger = open_ledger(directory)
        sent = send(console, files, dicom_port)
        jobs = wait_for_jobs(console, ledger, sent)
        complete = _print_table(console, ledger, pacs, sent, jobs)
        ledger.close()
        console.print(
            f"The reports are in {pacs.directory}, a stand-in for a PACS.", highlight=False
        )
        console.print("Not a medical device: research use only.")
        if keep:
            console.print(f"Pages: {page}   Ctrl-C stops the service.", highlight=False)
            _wait_for_interrupt(process)
    return 0 if complete else 1


@contextmanager
def service_running(
    directory: Path, destination: Mapping[str, object], dicom_port: int, web_port: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a complete service in a directory while the block runs.

    `wait_until_ready` returns when it accepts instances.
    """
    configuration = directory / "lobar.toml"
    configuration.touch()  # keeps a lobar.toml of the working directory out
    environment = environment_without_settings() | {
        "LOBAR_CONFIG": str(configuration),
        "LOBAR_STATE_DIR": str(directory / "state"),
        "LOBAR_DICOM__PORT": str(dicom_port),
        "LOBAR_WEB__PORT": str(web_port),
        "LOBAR_SPOOL__RESERVE_BYTES": "0",
        "LOBAR_DESTINATIONS": json.dumps([destination]),
    }
    with (directory / "lobar.log").open("wb") as log:
        process = subprocess.Popen(
            lobar_command("up"),
            env=environment,
            stdout=log,  # how to make a user: nobody needs one for a demo
            stderr=log,
            stdin=subprocess.DEVNULL,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 -- as in the supervisor
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until_ready(page: str, process: subprocess.Popen[bytes], directory: Path) -> None:
    """Wait until every part of the service is ready.

    Raises:
        DemoFailedError: the service exited, or was not ready within `READY_SECONDS`.
    """
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{page}health/ready", timeout=5):  # noqa: S310 -- loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise DemoFailedError(f"The service did not become ready; its log is {directory}/lobar.log.")


def open_ledger(directory: Path) -> Ledger:
    """Open the ledger of the service that runs in a directory. The caller closes it."""
    return Ledger(f"sqlite:///{directory / 'state' / 'ledger.sqlite3'}")


def send(console: Console, files: Sequence[Path], port: int) -> list[Sent]:
    """Send each file over C-STORE to a port of loopback; a failure does not affect the others."""
    with console.status("Sending over C-STORE"):
        return [_send_one(file, port) for file in files]


def _send_one(file: Path, port: int) -> Sent:
    try:
        instance = _instance(file)
    except PictureError as exc:
        return Sent(file=file, refusal=str(exc))
    except OSError as exc:
        return Sent(file=file, refusal=exc.strerror or "The file cannot be read.")
    try:
        return _store(file, instance, port)
    except (AttributeError, RuntimeError, ValueError):  # pynetdicom cannot propose or encode it
        return Sent(file=file, refusal="The DICOM file is broken: it cannot be sent.")


def _store(file: Path, instance: Dataset, port: int) -> Sent:
    ae = AE(ae_title="LOBARDEMO")
    ae.add_requested_context(instance.SOPClassUID, instance.file_meta.TransferSyntaxUID)
    at = time.time()
    association = ae.associate(LOOPBACK, port, ae_title="LOBAR")
    if not association.is_established:
        return Sent(file=file, refusal="The listener does not take this kind of instance.")
    install(association)
    try:
        with held(association):
            status = association.send_c_store(instance).get("Status")
    finally:
        association.release()
    if status != 0:
        answer = "no answer" if status is None else f"0x{status:04X}"
        return Sent(file=file, refusal=f"The listener refused it: {answer}.")
    return Sent(file=file, sop_instance_uid=str(instance.SOPInstanceUID), at=at, instance=instance)


def _instance(file: Path) -> Dataset:
    with file.open("rb") as stream:
        kind = kind_of(stream.read(SNIFFED_BYTES))
    if kind == "dicom":
        try:
            instance = dcmread(file)
            syntax = instance.file_meta.TransferSyntaxUID
            names = [str(each) for each in (instance.SOPClassUID, instance.SOPInstanceUID, syntax)]
        except Exception as exc:  # pydicom raises many kinds on damaged files
            raise PictureError("The DICOM file cannot be read.") from exc
        if not all(re.fullmatch(RE_VALID_UID, name) for name in names):
            raise PictureError("The DICOM file is broken: it has no valid UIDs.")
        return instance
    if kind is None:
        raise PictureError("The file is neither DICOM nor PNG nor JPEG.")
    return wrap(file)


def wait_for_jobs(console: Console, ledger: Ledger, sent: Sequence[Sent]) -> dict[str, Job]:
    """Wait until every job has finished, or none has changed for `QUIET_SECONDS`.

    Returns:
        The jobs by SOP Instance UID, as they are then.
    """
    uids = [each.sop_instance_uid for each in sent if each.sop_instance_uid]
    columns = (SpinnerColumn(), TextColumn("Reports"), BarColumn(), MofNCompleteColumn())
    jobs: dict[str, Job] = {}
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(uids))
        changed_at = time.monotonic()
        while time.monotonic() - changed_at < QUIET_SECONDS:
            found = {uid: ledger.queries.find(uid)[0] for uid in uids}
            if found != jobs:
                jobs, changed_at = found, time.monotonic()
            finished = sum(job.state in _FINISHED for job in jobs.values())
            progress.update(task, completed=finished)
            if finished == len(uids):
                break
            time.sleep(0.05)
    return jobs


def _print_table(
    console: Console,
    ledger: Ledger,
    pacs: StandInPacs,
    sent: Sequence[Sent],
    jobs: dict[str, Job],
) -> bool:
    """Print a row for each file, and return whether every report arrived."""
    table = Table("instance", "finding", "probability", box=SIMPLE)
    reads_other = any(job.other for job in jobs.values())
    if reads_other:
        table.add_column("other abnormality")
    table.add_column("report", overflow="fold")
    table.add_column("seconds", justify="right")
    complete = True
    for each in sent:
        job = jobs.get(each.sop_instance_uid)
        report, seconds = _arrival(ledger, pacs, each, job)
        complete = complete and bool(report)
        table.add_row(
            file_name(each.file),
            Text(outcome_in_words(each, job)),
            f"{job.probability:.3f}" if job and job.probability is not None else "",
            *([_other_in_words(job)] if reads_other else []),
            report,
            seconds,
        )
    console.print(table)
    return complete


def outcome_in_words(sent: Sent, job: Job | None) -> str:
    """Return the finding of a file, or why there is none."""
    if job is None:
        return sent.refusal
    if job.reason is not None:
        return f"{job.state.replace('_', ' ')}: {EXPLANATIONS[job.reason]}"
    return job.finding or f"{job.state}, no report in time"


def _other_in_words(job: Job | None) -> str:
    other = job.other if job else None
    return f"{other.finding} {other.probability:.3f}" if other else ""


def _arrival(ledger: Ledger, pacs: StandInPacs, sent: Sent, job: Job | None) -> tuple[str, str]:
    """Return the report's file in the PACS and the seconds from C-STORE to report, as text."""
    if job is None:
        return "", ""
    for output in ledger.queries.outputs(job.id):
        at, path = pacs.arrived_at(output.sop_instance_uid), pacs.path(output.sop_instance_uid)
        if output.kind == "sr" and at is not None and path is not None:
            return str(path), f"{at - sent.at:.2f}"
    return "", ""


def _wait_for_interrupt(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait()
    except KeyboardInterrupt:
        return


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
