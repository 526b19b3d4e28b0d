"""The `lobar` command: what each verb is made of. What the verbs do is done elsewhere.

Imports stand inside the verbs, because a verb must not pay for the libraries of another, and
because Prometheus' client decides how it counts when it is imported.
"""

# ruff: noqa: PLC0415 -- see above
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from service.domain.reasons import Reason
from service.errors import EX_NOPERM, EX_OSERR, ExplainedError
from service.settings import Settings, read_settings

if TYPE_CHECKING:
    from service.storage.ledger import Ledger

app = typer.Typer(
    name="lobar",
    help="Chest X-rays in over DICOM, pneumonia findings back as DICOM Structured Reports.\n\n"
    "Configuration is lobar.toml here, or the file named by LOBAR_CONFIG, overridden by "
    "LOBAR_... variables. Not a medical device: research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
worker = typer.Typer(help="Run one kind of worker by itself.", no_args_is_help=True)
app.add_typer(worker, name="worker")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
JOB_ARGUMENT = typer.Argument(
    metavar="ID",
    help="A job id or its beginning, or the UID of an instance, series, study or report.",
)
JobArgument = Annotated[str, JOB_ARGUMENT]


@app.command()
def up() -> None:
    """Run everything on this machine until SIGTERM; a Redis of its own when none is configured.

    Ready when GET /health/ready answers 200. SIGTERM drains and ends within drain_seconds.
    """
    with _part() as settings:
        from service.supervision.up import run_up

        run_up(settings)


@app.command()
def demo(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...", help="DICOM, PNG or JPEG; synthetic samples when none is given."
        ),
    ] = None,
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay up afterwards and show the page's address.")
    ] = False,
) -> None:
    """Show the main job: store each FILE over C-STORE and wait for its report in a stand-in PACS.

    Everything runs in a temporary state directory. Ends with 0 only if every report arrived.
    """
    from service.demo.run import run_demo

    raise typer.Exit(run_demo(files or [], keep=keep))


@app.command()
def analyze(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="DICOM, PNG or JPEG.")],
    *,
    output: Annotated[
        Path | None, typer.Option(help="Write JSON, report, overlay and PDF of each FILE in here.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per file and line.")
    ] = False,
) -> None:
    """Analyse files without a server; the same numbers as the service.

    Ends with 1 if a file failed; one bad file does not stop the others.
    """
    with _explained():
        settings = _settings()  # first: the import costs seconds
        from workers.offline.analyze import run_analyze

        raise typer.Exit(run_analyze(settings, files, output=output, as_json=as_json))


@app.command()
def listener() -> None:
    """Run the DICOM listener by itself."""
    with _part() as settings:
        from service.supervision.processes import run_listener

        run_listener(settings)


@app.command()
def relay() -> None:
    """Run the relay by itself: it rings for due work and takes away what retention allows."""
    with _part() as settings:
        from service.supervision.processes import run_relay

        run_relay(settings)


@app.command()
def web() -> None:
    """Run the pages, the JSON API, health and metrics by themselves."""
    with _part() as settings:
        from service.supervision.processes import run_web

        run_web(settings)


@worker.command("infer")
def worker_infer() -> None:
    """Lease due jobs, predict them in batches and write their reports."""
    with _part() as settings:
        from service.storage.opening import open_stores, redis_url
        from workers.tasks.infer import run

        url = redis_url(settings)
        with open_stores(settings) as (ledger, spool):
            run(settings, ledger, spool, url)


@worker.command("deliver")
def worker_deliver() -> None:
    """Send reports to their destinations."""
    with _part() as settings:
        from service.storage.opening import open_stores, redis_url
        from workers.tasks.deliver import run

        url = redis_url(settings)
        with open_stores(settings) as (ledger, spool):
            run(settings, ledger, spool, url)


@app.command()
def status(*, as_json: JsonOption = False) -> None:
    """Say how many jobs stand where, what is due, and which parts live."""
    with _memory() as (_, ledger):
        from service.admin.status import print_status

        print_status(ledger, as_json=as_json)


@app.command()
def trace(job: JobArgument, *, as_json: JsonOption = False) -> None:
    """Tell all that happened to one instance, or to each of a study."""
    with _memory() as (_, ledger):
        from service.admin.status import print_trace

        if not print_trace(ledger, job, as_json=as_json):
            _fail("The ledger knows no such job, instance, series, study or report.", 1)


@app.command()
def requeue(
    job: Annotated[str, JOB_ARGUMENT] = "",
    *,
    reason: Annotated[
        Reason | None, typer.Option(help="All that are parked for this reason, without an ID.")
    ] = None,
    reanalyse: Annotated[
        bool,
        typer.Option("--reanalyse", help="Have ended jobs analysed again by the model of today."),
    ] = False,
) -> None:
    """Let parked jobs go on: all that ID names, or all that are parked for a reason.

    Silent destinations are tried again at once. With --reanalyse, ended jobs go through the model
    again: what comes out otherwise is sent as a revision of the report before it.
    """
    if bool(job) == bool(reason) or (reanalyse and reason):
        _fail("Name either an ID or a --reason; --reanalyse needs an ID.", 2)
    with _memory() as (settings, ledger):
        from service.admin.requeue import reanalysed, requeued
        from service.storage.ledger import EVERYTHING

        found = ledger.queries.find(job, EVERYTHING) if job else ledger.queries.parked(reason)
        going_on = (
            reanalysed(ledger, found) if reanalyse else requeued(ledger, settings.routes, found)
        )
        moved = 0
        for each in going_on:
            moved += 1
            why = f": {each.reason}" if each.reason else ""
            typer.echo(f"{each.id} {each.state}{why}")
        if not moved and reanalyse:
            _fail("No such job has ended with its bytes still here. `lobar trace` tells.", 1)
        if not moved:
            _fail("No such job is parked. `lobar status` counts the parked ones.", 1)


@app.command()
def purge() -> None:
    """Remove now what retention allows: spool.keep_days for bytes, ledger.keep_days for rows.

    Only ended jobs are touched; the relay does the same by itself.
    """
    with _memory() as (settings, ledger):
        import time

        from service.storage.opening import open_spool
        from service.storage.retention import purge as purge_ended

        spool, now, touched = open_spool(settings), time.time(), 0
        while more := purge_ended(settings, ledger, spool, now=now):
            touched += more
        typer.echo(f"{touched} jobs purged")


@app.command()
def check() -> None:
    """Say in plain words what is wrong with the configuration; C-ECHO each destination.

    Ends with 1 if anything is.
    """
    with _explained():
        settings = _settings()
        from service.admin.check import run_check
        from workers.checks import echo, load_bundle

        raise typer.Exit(run_check(settings, echo=echo, load_bundle=load_bundle))


@app.command()
def conformance() -> None:
    """Print the DICOM Conformance Statement of this configuration, in Markdown."""
    with _explained():
        settings = _settings()
        from service.conformance import statement
        from workers.conformance import worker_facts

        typer.echo(statement(settings, worker_facts(settings)), nl=False)


def main() -> None:
    """Run the command."""
    app()


@contextmanager
def _part() -> Iterator[Settings]:
    """Prepare a process of the service: settings, log and metrics, in this order."""
    with _explained():
        settings = _settings()
        from service.telemetry.metrics_directory import use_metrics_dir

        use_metrics_dir(settings.metrics_dir)
        try:
            yield settings
        except OSError as exc:  # one line says what; the log also says where
            import structlog

            structlog.get_logger().critical("part_failed", exc_info=exc)
            raise


@contextmanager
def _memory() -> Iterator[tuple[Settings, "Ledger"]]:
    with _explained():
        settings = _settings()
        from service.storage.opening import open_ledger

        with open_ledger(settings) as ledger:
            yield settings, ledger


def _settings() -> Settings:
    from service.telemetry.structured_log import configure

    settings = read_settings()
    configure(settings.log)
    return settings


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors that a person can mend into one line and an exit status."""
    try:
        yield
    except ExplainedError as exc:
        _fail(str(exc), exc.exit_status)
    except BrokenPipeError:  # whoever read the output has seen enough; Typer ends it quietly
        raise
    except OSError as exc:
        what = f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc)
        status = EX_NOPERM if isinstance(exc, PermissionError) else EX_OSERR
        _fail(f"{what}. Is state_dir (LOBAR_STATE_DIR) as it should be?", status)


def _fail(message: str, code: int) -> NoReturn:
    for line in message.splitlines() or [""]:
        print(f"lobar: {line}", file=sys.stderr)  # noqa: T201 -- the command speaks to a person
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
