"""The `lobar` command: parse the command line, read the settings and call the module concerned.

Imports are inside the functions, so that a command does not load the libraries of another, and
because Prometheus' client chooses its mode (one process or several) when it is imported.
"""

# ruff: noqa: PLC0415 -- see above
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from service.domain.job import require_sentence
from service.domain.part import PartName
from service.domain.reasons import Reason
from service.domain.user import Permission, Role
from service.errors import EX_NOPERM, EX_OSERR, ExplainedError
from service.process_limits import (
    PRIVATE,
    die_before_others,
    make_private,
    share_arenas,
    umask,
    without_collection,
    without_packages,
)
from service.settings import DimseDestination, Settings, WebDestination, read_settings

if TYPE_CHECKING:
    from service.storage.ledger import Ledger, ParkedFilter

app = typer.Typer(
    name="lobar",
    help="Chest X-rays in over DICOM, pneumonia findings back as DICOM Structured Reports.\n\n"
    "Configuration: lobar.toml in the working directory, or the file that LOBAR_CONFIG names, "
    "overridden by LOBAR_... variables. Not a medical device: research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
worker = typer.Typer(help="Run one kind of worker.", no_args_is_help=True)
app.add_typer(worker, name="worker")
user = typer.Typer(help="Add and change the users who may sign in.", no_args_is_help=True)
app.add_typer(user, name="user")
token = typer.Typer(help="Make and revoke tokens for programs.", no_args_is_help=True)
app.add_typer(token, name="token")
bundle = typer.Typer(help="Hold a bundle to its digests; find its engine.", no_args_is_help=True)
app.add_typer(bundle, name="bundle")
drift = typer.Typer(help="Measure drift; set what it is measured against.", no_args_is_help=True)
app.add_typer(drift, name="drift")
shadow = typer.Typer(help="Compare the shadow model.", no_args_is_help=True)
app.add_typer(shadow, name="shadow")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
JOB_ARGUMENT = typer.Argument(
    metavar="ID",
    help="A job id or its first characters, or the UID of an instance, series, study or report.",
)
PIXEL_PACKAGES = ("numpy", "PIL")  # pydicom imports them, also where no pixel is decoded
NOT_PARKED = "No such job is parked. `lobar status` counts the parked ones."
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
JobArgument = Annotated[str, JOB_ARGUMENT]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of a user.")]
PasswordOption = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from standard input, not a prompt."),
]


@app.command()
def up(
    parts: Annotated[
        list[PartName] | None,
        typer.Option(
            "--part",
            help="Run this part only, where others run on other machines; may be repeated.",
        ),
    ] = None,
) -> None:
    """Run all parts on this machine until SIGTERM; with an embedded Redis if none is configured.

    Ready when GET /health/ready answers 200. After SIGTERM it drains and exits within
    drain_seconds.
    """
    with _part() as settings:
        with without_collection():
            from service.supervision.up import run_up

        run_up(settings, parts or list(PartName))


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
        bool,
        typer.Option("--keep", help="Keep the service running afterwards, and print its address."),
    ] = False,
) -> None:
    """Send each FILE over C-STORE and show its report, stored in a stand-in for a PACS.

    Everything runs in a temporary state directory. Exits with 0 only if every report arrived.
    """
    from service.demo.run import run_demo

    raise typer.Exit(run_demo(files or [], keep=keep))


@app.command()
def analyze(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="DICOM, PNG or JPEG.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(help="Write JSON, report, overlay and PDF of each FILE to this folder."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per file, each on its line.")
    ] = False,
) -> None:
    """Analyse files without a server, with the same results as the service.

    Exits with 1 if a file failed. A failed file does not stop the others.
    """
    with _one_line_errors():
        settings = _settings()  # before the import, which takes seconds
        from workers.offline.analyze import run_analyze

        # the files are the user's own, not the service's
        with umask(PRIVATE if context.obj is None else context.obj):
            status = run_analyze(settings, files, output=output, as_json=as_json)
        raise typer.Exit(status)


@app.command()
def listener() -> None:
    """Run only the DICOM listener."""
    with _part() as settings:
        with without_collection(), without_packages(*PIXEL_PACKAGES):
            from service.supervision.parts.listener import run_listener

        run_listener(settings)


@app.command()
def relay() -> None:
    """Run only the relay: it notifies workers of due work and applies retention."""
    with _part() as settings:
        with without_collection():
            from service.supervision.parts.relay import run_relay

        run_relay(settings)


@app.command()
def web() -> None:
    """Run only the web server: pages, JSON API, health and metrics."""
    with _part() as settings:
        with without_collection():
            from service.supervision.parts.web import run_web

        run_web(settings)


@worker.command("infer")
def worker_infer() -> None:
    """Lease due jobs, analyse them in batches and write their reports."""
    with _part() as settings:
        with without_collection():
            from workers.inference.decoders import decoder_template

        # before the first thread, and before what else is imported: it has much to import itself
        with closing(decoder_template(settings.bundle)) as template:
            with without_collection():
                from service.storage.opening import open_stores, redis_url
                from workers.tasks.infer import run

            url = redis_url(settings)
            with open_stores(settings) as (ledger, spool):
                run(settings, ledger, spool, url, template)


@worker.command("deliver")
def worker_deliver() -> None:
    """Send reports to their destinations."""
    with _part() as settings:
        with without_collection(), without_packages(*PIXEL_PACKAGES):
            from service.storage.opening import open_stores, redis_url
            from workers.tasks.deliver import run

        url = redis_url(settings)
        with open_stores(settings) as (ledger, spool):
            run(settings, ledger, spool, url)


@worker.command("shadow")
def worker_shadow() -> None:
    """Let the shadow model read what was reported; what it says is kept and never sent."""
    with _part() as settings:
        with without_collection():
            from service.storage.opening import open_stores
            from workers.tasks.shadow import run

        with open_stores(settings) as (ledger, spool):
            run(settings, ledger, spool)


@app.command()
def status(
    *,
    as_json: JsonOption = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Count every row instead, which takes seconds for a million, and correct the "
            "ledger's own numbers if they differ. Exits with 1 if they did.",
        ),
    ] = False,
) -> None:
    """Print the jobs in each state, the work that is due and the parts that are running."""
    with _open_ledger() as (_, ledger):
        from service.admin.status import print_status, print_verification

        if verify:
            raise typer.Exit(0 if print_verification(ledger) else 1)
        print_status(ledger, as_json=as_json)


@app.command()
def health(
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Only whether it runs, not what is missing.")
    ] = False,
) -> None:
    """Ask the running service whether it is ready, over its Unix socket; exits with 1 if not."""
    with _one_line_errors():
        settings = _settings()
        from service.health_check import LIVE, READY, ask

        status, line = ask(settings.health_socket, LIVE if live else READY)
        typer.echo(line, err=bool(status))
        raise typer.Exit(status)


@app.command()
def trace(job: JobArgument, *, as_json: JsonOption = False) -> None:
    """Print the history of one instance, or of each instance of a study."""
    with _open_ledger() as (settings, ledger):
        from service.admin.status import print_trace

        if not print_trace(ledger, job, settings.tracing, as_json=as_json):
            _fail("The ledger knows no such job, instance, series, study or report.", 1)


@app.command()
def requeue(
    job: Annotated[str, JOB_ARGUMENT] = "",
    *,
    reason: Annotated[
        Reason | None, typer.Option(help="All jobs parked for this reason; without an ID.")
    ] = None,
    reanalyse: Annotated[
        bool,
        typer.Option(
            "--reanalyse", help="Re-run finished or parked jobs with the configured model."
        ),
    ] = False,
) -> None:
    """Resume parked jobs: those that ID names, or all that are parked for a reason.

    Deliveries to destinations that did not answer are due again at once. With --reanalyse,
    finished and parked jobs are analysed again with the configured model, and a different result
    is sent as a revision of the report.
    """
    if bool(job) == bool(reason) or (reanalyse and reason):
        _fail("Name either an ID or a --reason; --reanalyse needs an ID.", 2)
    with _open_ledger() as (settings, ledger):
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
            _fail(
                "No such job has finished with its instance still in the spool: see `lobar trace`.",
                1,
            )
        if not moved:
            _fail(NOT_PARKED, 1)


@app.command()
def dismiss(
    job: Annotated[str, JOB_ARGUMENT] = "",
    *,
    reason: Annotated[
        str, typer.Option(metavar="SENTENCE", help="Why they need nothing more; for the trace.")
    ],
    parked_for: Annotated[
        Reason | None, typer.Option(help="All jobs parked for this reason; without an ID.")
    ] = None,
    before: Annotated[
        datetime | None,
        typer.Option(
            formats=MOMENTS, help="All parked jobs received before this, in UTC; without an ID."
        ),
    ] = None,
    ae: Annotated[
        str | None,
        typer.Option(
            metavar="AE_TITLE", help="All parked jobs that this AE title sent; without an ID."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how many those are, and close none.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Close all of a kind; without it they are counted only.")
    ] = False,
) -> None:
    """Close parked jobs that need nothing more: those that ID names, or all of a kind.

    Outputs that were not delivered are not sent any more. The bytes stay as long as those of any
    finished job, and `lobar requeue --reanalyse` takes it back until then.
    """
    if bool(job) == bool(parked_for or before or ae) or (job and (dry_run or yes)):
        _fail("Name either an ID, or jobs by --parked-for, --before and --ae.", 2)
    try:
        sentence = require_sentence(reason)
    except ValueError as exc:
        _fail(f"--reason: {exc}", 2)
    with _open_ledger() as (_, ledger):
        from service.admin.dismiss import dismissed
        from service.storage.ledger import EVERYTHING, ParkedFilter

        if not job:
            wanted = ParkedFilter(reason=parked_for, before=_seconds(before), calling_ae_title=ae)
            _dismiss_all(ledger, wanted, sentence, closes=yes and not dry_run, is_dry=dry_run)
            return
        closed = list(dismissed(ledger, ledger.queries.find(job, EVERYTHING), sentence))
        for each in closed:
            typer.echo(f"{each.id} {each.state}: {each.reason}")
        if not closed:
            _fail(NOT_PARKED, 1)


@app.command()
def audit(
    *,
    since: Annotated[
        datetime | None, typer.Option(formats=MOMENTS, help="Only records from then on, in UTC.")
    ] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a heading first.")] = False,
    as_xml: Annotated[
        bool, typer.Option("--xml", help="Print DICOM Audit Messages (PS3.15 A.5), one a line.")
    ] = False,
) -> None:
    """Print the audit trail: who saw or did what, and when; the oldest first.

    It names patients by their ID. That it was printed is recorded in it.
    """
    forms = {"json": as_json, "csv": as_csv, "xml": as_xml}
    chosen = [name for name, is_chosen in forms.items() if is_chosen]
    if len(chosen) > 1:
        _fail("Choose one of --json, --csv and --xml.", 2)
    with _open_ledger() as (settings, ledger):
        from service.admin.audit import AuditFormat, print_audit
        from service.storage.ledger.access.audit_trail import AuditFilter

        form = AuditFormat(chosen[0]) if chosen else AuditFormat.TABLE
        print_audit(settings, ledger, AuditFilter(since=_seconds(since)), form)


@app.command()
def verdicts(
    *,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DAY", help="Only from this day or moment on, in ISO 8601; UTC by default."
        ),
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV for retraining, without a patient.")
    ] = False,
    comments: Annotated[
        bool, typer.Option("--comments", help="With the comments, which may name a patient.")
    ] = False,
) -> None:
    """Print radiologists' verdicts: the latest of each reader on each report.

    Readers have pseudonyms. The manifest of the bundle reads the CSV.
    """
    with _open_ledger() as (_, ledger):
        from service.admin.verdicts import print_verdicts
        from service.web.verdicts.table import moment_of

        try:
            first = moment_of(since) if since else None
        except ValueError as exc:
            _fail(f"--since: {exc}.", 2)
        print_verdicts(ledger, since=first, as_csv=as_csv, comments=comments)


@app.command()
def purge() -> None:
    """Apply retention now, and print what it removed.

    spool.keep_days and spool.maximum_bytes apply to instances and outputs, ledger.keep_days to
    rows. Affects finished jobs only. The relay does the same at intervals.
    """
    with _open_ledger() as (settings, ledger):
        from service.storage.opening import open_spool
        from service.storage.retention import Purged
        from service.storage.retention import purge as purge_once
        from service.storage.spool_identity import require_own_spool

        spool, purged = open_spool(settings), Purged()
        require_own_spool(ledger, spool)
        while (more := purge_once(settings, ledger, spool)).jobs:
            purged += more
        if more.is_held:
            _fail("A backup is being made: retention waits for its end.", 1)
        typer.echo(
            f"{purged.jobs} jobs purged: the bytes of {purged.by_age} by age and of "
            f"{purged.by_size} by size ({purged.freed_bytes:,} bytes), {purged.forgotten} forgotten"
        )


@app.command()
def backup(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where; one with an earlier backup is renewed.")
    ],
) -> None:
    """Back up ledger and spool while the service runs; no settings, and none of their secrets.

    Repeated into the same FOLDER, it takes only the files that are new.
    """
    with _one_line_errors():
        settings = _settings()
        from service.admin.backup import back_up

        done = back_up(settings, folder.absolute())
        what = done.manifest
        typer.echo(
            f"{what.ledger.lines} rows and {what.files.lines} files ({what.bytes:,} bytes), "
            f"{done.taken} of them new, as of {what.made_at}; {what.missing} files were missing"
        )


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A backup.")],
    *,
    verify_only: Annotated[
        bool, typer.Option("--verify-only", help="Only read all of the backup and compare it.")
    ] = False,
) -> None:
    """Restore a backup into an empty state_dir and an empty database, after checking all of it."""
    with _one_line_errors():
        settings = _settings()
        from service.admin import restore as restoring

        what = (
            restoring.verify(folder.absolute())
            if verify_only
            else restoring.restore(settings, folder.absolute())
        )
        typer.echo(
            f"{what.ledger.lines} rows and {what.files.lines} files ({what.bytes:,} bytes) "
            f"{'are whole' if verify_only else 'restored'}, as of {what.made_at}"
        )


@app.command()
def check() -> None:
    """Check the configuration, the bundle and each destination, and print what is wrong.

    Destinations are asked with C-ECHO. Exits with 1 if there is an error.
    """
    with _one_line_errors():
        settings = _settings()
        from service.admin.check import run_check
        from workers.checks import echo, load_bundle

        raise typer.Exit(run_check(settings, echo=echo, load_bundle=load_bundle))


@app.command()
def acceptance(
    *,
    destination: Annotated[str, typer.Option(metavar="NAME", help="One of destinations.")],
    repeats: Annotated[
        int, typer.Option(min=1, max=100, help="How often one object is stored again.")
    ] = 10,
    commitment_seconds: Annotated[
        float, typer.Option(min=0, max=600, help="How long a result of commitment is awaited.")
    ] = 30,
    with_image: Annotated[
        bool, typer.Option("--with-image/--without-image", help="Store the radiograph itself too.")
    ] = True,
    remove: Annotated[
        bool, typer.Option("--remove", help="Ask a DICOMweb service to delete the study again.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write the report to this file, not to standard output.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Try a PACS with a synthetic study of an invented patient, and print a report of it.

    Shows what the PACS negotiates, takes, answers, commits, finds and keeps, how fast, and what
    stays in it. Exits with 1 if something failed.
    """
    with _one_line_errors():
        settings = _settings()
        chosen = settings.destination(destination)
        if chosen is None:
            known = ", ".join(each.name for each in settings.destinations) or "none is configured"
            _fail(f"No destination has this name ({known}).", 2)
        if not isinstance(chosen, DimseDestination | WebDestination):
            _fail("Only a PACS can be tried: `lobar check` looks at a receiver of messages.", 2)
        from workers.acceptance import run as kit

        options = kit.Options(
            repeats=repeats,
            commitment_seconds=commitment_seconds,
            with_image=with_image,
            remove=remove,
        )
        outcome = kit.run_acceptance(settings, chosen, options)
        text = kit.as_json(outcome) if as_json else kit.as_markdown(outcome)
        if output is None:
            typer.echo(text)
        else:
            output.write_text(f"{text}\n")
        raise typer.Exit(0 if outcome.accepted else 1)


@user.command("add")
def user_add(
    name: NameArgument,
    *,
    role: Annotated[Role, typer.Option(help="What the user may do.")],
    password_stdin: PasswordOption = False,
    without_password: Annotated[
        bool,
        typer.Option(
            "--without-password", help="An identity provider or a proxy signs the user in."
        ),
    ] = False,
) -> None:
    """Add a user. The password is asked for twice; at least 12 characters.

    The first user ends the open access to the pages: make it an admin.
    """
    if password_stdin and without_password:
        _fail("Choose --password-stdin or --without-password.", 2)
    with _open_ledger() as (_, ledger):
        from service.admin.users import Users, read_password

        name = Users(ledger).require_new(name)
        password = None if without_password else read_password(from_stdin=password_stdin)
        typer.echo(Users(ledger).add(name, role, password))


@user.command("list")
def user_list(*, as_json: JsonOption = False) -> None:
    """Print the users: role, state, how each signs in."""
    with _open_ledger() as (_, ledger):
        from service.admin.users import print_users

        print_users(ledger, as_json=as_json)


@user.command("role")
def user_role(
    name: NameArgument, role: Annotated[Role, typer.Argument(help="The new role.")]
) -> None:
    """Give a user another role; ends the user's sessions."""
    with _open_ledger() as (_, ledger):
        from service.admin.users import Users

        typer.echo(Users(ledger).set_role(name, role))


@user.command("password")
def user_password(name: NameArgument, *, password_stdin: PasswordOption = False) -> None:
    """Set the password of a user; ends the user's sessions and a lock-out."""
    with _open_ledger() as (_, ledger):
        from service.admin.users import Users, read_password

        name = Users(ledger).require_known(name)
        typer.echo(Users(ledger).set_password(name, read_password(from_stdin=password_stdin)))


@user.command("disable")
def user_disable(name: NameArgument) -> None:
    """Let a user not sign in any more; ends the sessions, and tokens are refused."""
    with _open_ledger() as (_, ledger):
        from service.admin.users import Users

        typer.echo(Users(ledger).disable(name))


@user.command("enable")
def user_enable(name: NameArgument) -> None:
    """Let a disabled or locked user sign in again."""
    with _open_ledger() as (_, ledger):
        from service.admin.users import Users

        typer.echo(Users(ledger).enable(name))


@token.command("add")
def token_add(
    name: NameArgument,
    *,
    label: Annotated[str, typer.Option(help="What the token is for.")],
    scope: Annotated[
        list[Permission], typer.Option(help="What it may do; repeat it for more than one.")
    ],
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Valid for so many days; else for ever.")
    ] = None,
) -> None:
    """Make a token with which a program acts for a user, and print it, once.

    It may do what its scopes say, within the role of its user.
    """
    with _open_ledger() as (_, ledger):
        from service.admin.users import add_token

        typer.echo(add_token(ledger, name, label=label, scopes=scope, days=days))


@token.command("list")
def token_list(
    *,
    user_name: Annotated[
        str, typer.Option("--user", metavar="NAME", help="Only the tokens of this user.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Print the tokens that are not revoked: number, user, label, scopes, expiry, last use."""
    with _open_ledger() as (_, ledger):
        from service.admin.users import print_tokens

        print_tokens(ledger, user_name, as_json=as_json)


@token.command("revoke")
def token_revoke(
    number: Annotated[str, typer.Argument(help="The number that `lobar token list` shows.")],
) -> None:
    """Revoke a token: programs that use it are refused at once."""
    with _open_ledger() as (_, ledger):
        from service.admin.users import revoke_token

        typer.echo(revoke_token(ledger, number))


@bundle.command("pin")
def bundle_pin() -> None:
    """Accept the bundle that is configured as it is now: write its pins.sha256.

    Prints the digest for bundle.digest, which holds it also where its own files cannot.
    """
    with _one_line_errors():
        settings = _settings()
        from workers.inference.pins import write_pins

        typer.echo(write_pins(settings.bundle.path.resolve()))


@bundle.command("engine")
def bundle_engine(
    *,
    anew: Annotated[bool, typer.Option("--anew", help="Even if it was done before.")] = False,
    aside_of: Annotated[
        int | None, typer.Option(hidden=True, help="A worker; gives way to all others.")
    ] = None,
) -> None:
    """Find the fastest engine for the bundle on this machine, and keep it for the workers.

    Exports the network, compares what it gives with torch, and measures both: half a minute.
    """
    with _one_line_errors():
        settings = _settings()
        if aside_of is not None:
            from service.supervision.supervisor import die_with_parent

            die_with_parent(aside_of)
            os.nice(19)
            die_before_others(1000)
        from workers.inference.engines.make import make

        typer.echo(make(settings, anew=anew).record.summary)


@drift.command("show")
def drift_show(*, as_json: JsonOption = False) -> None:
    """Print how far the films of the last days are from the reference, input by input."""
    with _open_ledger() as (settings, ledger):
        from service.admin.monitoring import print_drift

        print_drift(settings, ledger, as_json=as_json)


@drift.command("accept")
def drift_accept(
    *,
    days: Annotated[
        float, typer.Option(min=1, max=365, help="The films of so many last days.")
    ] = 28,
) -> None:
    """Let the films of the last days be the reference of this site, after a change that is meant.

    Inputs with fewer than 200 films keep the reference that they have.
    """
    with _open_ledger() as (settings, ledger):
        from service.admin.monitoring import accept_drift

        accepted = accept_drift(settings, ledger, days)
        if not accepted:
            _fail("No input has 200 films in these days: nothing was accepted.", 1)
        for line in accepted:
            typer.echo(line)


@drift.command("forget")
def drift_forget() -> None:
    """Remove the references of this site; those of the bundle hold again."""
    with _open_ledger() as (_, ledger):
        from service.admin.monitoring import forget_drift

        typer.echo(f"{forget_drift(ledger)} references removed")


@shadow.command("report")
def shadow_report(
    *,
    since: Annotated[
        datetime | None,
        typer.Option(formats=MOMENTS, help="From then on, in UTC; else the last 28 days."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=MOMENTS, help="Before then, in UTC.")
    ] = None,
    pair: Annotated[
        int, typer.Option(min=0, max=99, help="Which models, where several were compared.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare the shadow model with what was reported: agreement, differences, would-be changes."""
    with _open_ledger() as (_, ledger):
        from service.admin.monitoring import print_shadow

        _require_order(since, until)
        if not print_shadow(ledger, _seconds(since), _seconds(until), pair, as_json=as_json):
            _fail("Nothing was compared in this time.", 1)


@app.command()
def conformance() -> None:
    """Print the DICOM Conformance Statement of this configuration, in Markdown."""
    with _one_line_errors():
        settings = _settings()
        from service.conformance import statement
        from workers.conformance import worker_facts

        typer.echo(statement(settings, worker_facts(settings)), nl=False)


def main() -> None:
    """Run the `lobar` command; what it writes is readable by this account only."""
    app(obj=make_private())


@contextmanager
def _part() -> Iterator[Settings]:
    """Read the settings and set up log and metrics, in this order, for a part of the service."""
    share_arenas()
    with _one_line_errors():
        settings = _settings()
        from service.telemetry.metrics_directory import use_metrics_dir

        use_metrics_dir(settings.metrics_dir)
        _arm_crash_point()
        try:
            yield settings
        except OSError as exc:  # standard error gets one line; the log gets the traceback
            import structlog

            structlog.get_logger().critical("part_failed", exc_info=exc)
            raise


def _arm_crash_point() -> None:
    """Let this part end where LOBAR_CRASH_AT says, and say so in the log: it is for tests alone."""
    from service.crash_points import arm
    from service.settings import crash_point

    point = arm(crash_point())
    if point is not None:
        import structlog

        structlog.get_logger().warning("crash_point_armed", point=point)


@contextmanager
def _open_ledger() -> Iterator[tuple[Settings, "Ledger"]]:
    with _one_line_errors():
        settings = _settings()
        from service.storage.opening import open_ledger

        with open_ledger(settings) as ledger:
            yield settings, ledger


def _dismiss_all(
    ledger: "Ledger", wanted: "ParkedFilter", why: str, *, closes: bool, is_dry: bool
) -> None:
    """Dismiss what passes a filter and print how many; without `closes` only count."""
    from service.admin.dismiss import dismiss_all

    count = ledger.queries.parked_count(wanted)
    if closes and count:
        typer.echo(f"{dismiss_all(ledger, wanted, why)} jobs dismissed")
    else:
        typer.echo(f"{count} parked jobs would be dismissed")
    if not count:
        _fail(NOT_PARKED, 1)
    if not (closes or is_dry):
        _fail("Nothing was changed. Add --yes to dismiss them.", 2)


def _require_order(since: datetime | None, until: datetime | None) -> None:
    if since is not None and until is not None and until <= since:
        _fail("--until must be after --since.", 2)


def _seconds(moment: datetime | None) -> float | None:
    """Return a moment in UTC as seconds since the epoch."""
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


def _settings() -> Settings:
    from service.telemetry.structured_log import configure

    settings = read_settings()
    configure(settings.log)
    return settings


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Print an error that an operator can correct as one line, and exit with its status."""
    try:
        yield
    except ExplainedError as exc:
        _fail(str(exc), exc.exit_status)
    except BrokenPipeError:  # the reader closed the pipe; Typer exits without a message
        raise
    except OSError as exc:
        what = f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc)
        status = EX_NOPERM if isinstance(exc, PermissionError) else EX_OSERR
        _fail(f"{what}. Check state_dir (LOBAR_STATE_DIR).", status)


def _fail(message: str, code: int) -> NoReturn:
    for line in message.splitlines() or [""]:
        print(f"lobar: {line}", file=sys.stderr)  # noqa: T201 -- a command line prints
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
