"""Says in plain words what is wrong with a configuration, before it costs an image."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from redis import Redis, RedisError
from rich.console import Console

from service.dispatch.embedded_redis import redis_program
from service.domain.check_result import CheckResult
from service.errors import ExplainedError
from service.settings import (
    Destination,
    DimseDestination,
    Settings,
    config_file,
    unknown_variables,
)
from service.settings.exposure import destination_notice, listener_fault, web_fault
from service.settings.loopback import is_loopback
from service.storage.opening import open_ledger, open_spool


def run_check(
    settings: Settings,
    *,
    echo: Callable[[Settings, Destination], str],
    load_bundle: Callable[[Settings], Iterable[CheckResult]],
) -> int:
    """Ask every question, print the answers, and give the exit status: 1 if anything is wrong.

    `echo` asks a destination whether it is there and gives a sentence, or raises an
    `ExplainedError` with what to do.
    `load_bundle` loads the bundle, tries it, and gives all that it found.
    """
    console = Console(highlight=False)
    marks = ("[green]well [/green]", "[yellow]note [/yellow]", "[red]wrong[/red]")
    wrong = 0
    for finding in questions(settings, echo=echo, load_bundle=load_bundle):
        console.print(f"{marks[finding.severity]}  [bold]{finding.subject}[/bold]", end="  ")
        console.print(finding.message, markup=False, soft_wrap=True)
        wrong += finding.severity == 2  # noqa: PLR2004 -- see Finding
    console.print("Nothing is wrong." if not wrong else f"{wrong} wrong.")
    return 1 if wrong else 0


def questions(
    settings: Settings,
    *,
    echo: Callable[[Settings, Destination], str],
    load_bundle: Callable[[Settings], Iterable[CheckResult]],
) -> Iterator[CheckResult]:
    """Ask the cheap questions first, and the ones that reach out last."""
    yield CheckResult(
        subject="configuration", message=f"read from {config_file() or 'the environment alone'}"
    )
    for name in unknown_variables():
        yield CheckResult(
            subject=name,
            message="is no setting of Lobar's: is it misspelt? It has no effect.",
            severity=1,
        )
    yield from _listener(settings)
    yield from _web(settings)
    yield _explained("state directory", lambda: _spool(settings))
    yield _explained("ledger", lambda: _ledger(settings))
    yield _explained("redis", lambda: _redis(settings))
    yield from _bundle(lambda: load_bundle(settings))
    if not settings.destinations:
        yield CheckResult(
            subject="destinations",
            message="none is configured: reports are made and parked. Set destinations "
            "(LOBAR_DESTINATIONS).",
            severity=1,
        )
    for destination in settings.destinations:
        notice = destination_notice(destination)
        if notice is not None:
            yield CheckResult(subject=f"way to {destination.name}", message=notice, severity=1)
        if is_unheard(settings, destination):
            yield CheckResult(
                subject=f"commitment of {destination.name}",
                message="its AE title is not in dicom.allowed_calling_ae_titles: the listener "
                "rejects its results, unless they come on the association of the request.",
                severity=1,
            )
        yield _explained(f"destination {destination.name}", partial(echo, settings, destination))


def is_unheard(settings: Settings, destination: Destination) -> bool:
    """Tell whether a destination that is to commit itself may not associate to say so."""
    listed = settings.dicom.allowed_calling_ae_titles
    return (
        isinstance(destination, DimseDestination)
        and destination.storage_commitment
        and bool(listed)
        and not settings.dicom.allow_any_calling_ae_title
        and destination.ae_title not in listed
    )


def _explained(subject: str, question: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(subject=subject, message=question())
    except (ExplainedError, OSError, RedisError) as exc:
        return CheckResult(subject=subject, message=str(exc), severity=2)


def _bundle(question: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
    try:
        return list(question())
    except (ExplainedError, OSError) as exc:  # it is tried on files in a temporary folder
        return [CheckResult(subject="bundle", message=str(exc), severity=2)]


def _listener(settings: Settings) -> Iterator[CheckResult]:
    dicom = settings.dicom
    where = f"{dicom.ae_title} on {dicom.host}:{dicom.port}"
    fault = listener_fault(dicom)
    if fault is not None:
        yield CheckResult(subject="listener", message=fault, severity=2)
    elif dicom.allowed_calling_ae_titles:
        listed = ", ".join(dicom.allowed_calling_ae_titles)
        yield CheckResult(subject="listener", message=f"{where}, for {listed}")
    elif is_loopback(dicom.host):
        yield CheckResult(subject="listener", message=f"{where}, for anyone on this machine")
    else:
        yield CheckResult(subject="listener", message=f"{where}, for anyone at all", severity=1)


def _web(settings: Settings) -> Iterator[CheckResult]:
    where = f"http://{settings.web.host}:{settings.web.port}"
    fault = web_fault(settings.web)
    if fault is not None:
        yield CheckResult(subject="web", message=fault, severity=2)
    elif is_loopback(settings.web.host):
        yield CheckResult(subject="web", message=where)
    else:
        yield CheckResult(subject="web", message=f"{where}, without a sign-in", severity=1)


def _spool(settings: Settings) -> str:
    spool = open_spool(settings)
    if not os.access(spool.incoming, os.W_OK):
        raise PermissionError(f"{spool.incoming} cannot be written. Set state_dir.")
    spool.require_room()
    free = shutil.disk_usage(spool.root).free / (1 << 30)
    return f"{settings.state_dir.absolute()}, {free:.1f} GiB free"


def _ledger(settings: Settings) -> str:
    with open_ledger(settings) as ledger:
        received = ledger.queries.job_counts().received
    kind = settings.ledger_url.split(":", 1)[0].split("+", 1)[0]
    return f"{kind}, at this version, {received} instances received"


def _redis(settings: Settings) -> str:
    if settings.redis.url is None:
        return f"none configured: `lobar up` starts {redis_program()}"
    client = Redis.from_url(settings.redis.url, socket_connect_timeout=2, socket_timeout=2)
    server = dict(client.info("server"))
    # Valkey's redis_version is only the version of Redis whose commands it has
    return f"version {server.get('valkey_version') or server.get('redis_version')} answers"
