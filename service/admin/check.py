"""Check a configuration before it is used, and explain each fault."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from redis import Redis, RedisError
from rich.console import Console

from service.access.openid import OpenIdProvider, ProviderError
from service.access.ways import first_user_notice, ways
from service.admin.certificates import certificate_results
from service.audit.syslog import SyslogServer
from service.dispatch.embedded_redis import redis_program
from service.domain.check_result import CheckResult
from service.errors import ExplainedError
from service.settings import (
    ConfigurationError,
    Destination,
    DimseDestination,
    Settings,
    config_file,
    crash_point,
    unknown_variables,
)
from service.settings.environment import CRASH_VARIABLE
from service.settings.exposure import (
    audit_notice,
    destination_notice,
    listener_fault,
    listening_addresses,
    web_fault,
)
from service.settings.loopback import is_loopback
from service.storage.opening import open_ledger, open_spool, open_stores
from service.telemetry.tracing.starting import load_exporting

_NOTE, _ERROR = 1, 2  # see `CheckResult.severity`


def run_check(
    settings: Settings,
    *,
    echo: Callable[[Settings, Destination], str],
    load_bundle: Callable[[Settings], Iterable[CheckResult]],
) -> int:
    """Run every check, print the results, and return the exit status: 1 if there is any error.

    Args:
        settings: the configuration to check.
        echo: sends an echo to a destination and returns a sentence for the result; raises an
            `ExplainedError` that says what to do.
        load_bundle: loads the bundle, runs it on generated radiographs, and returns the results.
    """
    console = Console(highlight=False)
    marks = ("[green]ok   [/green]", "[yellow]note [/yellow]", "[red]error[/red]")
    errors = 0
    for result in checks(settings, echo=echo, load_bundle=load_bundle):
        console.print(f"{marks[result.severity]}  [bold]{result.subject}[/bold]", end="  ")
        console.print(result.message, markup=False, soft_wrap=True)
        errors += result.severity == _ERROR
    console.print(_summary(errors))
    return 1 if errors else 0


def _summary(errors: int) -> str:
    if not errors:
        return "No errors."
    return "1 error." if errors == 1 else f"{errors} errors."


def checks(
    settings: Settings,
    *,
    echo: Callable[[Settings, Destination], str],
    load_bundle: Callable[[Settings], Iterable[CheckResult]],
) -> Iterator[CheckResult]:
    """Run the cheap checks first, and those that use the network last."""
    yield CheckResult(
        subject="configuration", message=f"read from {config_file() or 'the environment alone'}"
    )
    for name in unknown_variables():
        yield CheckResult(
            subject=name,
            message="unknown setting (misspelled?); it has no effect",
            severity=_NOTE,
        )
    yield from _crash_point()
    yield from _listener(settings)
    yield from certificate_results(settings)
    yield from _web(settings)
    yield from _health(settings)
    yield _explained("state directory", lambda: _spool(settings))
    yield _explained("ledger", lambda: _ledger(settings))
    yield from _sign_in(settings)
    yield _explained("redis", lambda: _redis(settings))
    yield from _bundle(lambda: load_bundle(settings))
    yield from _audit(settings)
    yield from _tracing(settings)
    if not settings.destinations:
        yield CheckResult(
            subject="destinations",
            message="none is configured: each job is parked after its report. Set destinations "
            "(LOBAR_DESTINATIONS).",
            severity=_NOTE,
        )
    for destination in settings.destinations:
        notice = destination_notice(destination)
        if notice is not None:
            yield CheckResult(
                subject=f"connection to {destination.name}", message=notice, severity=_NOTE
            )
        if is_result_rejected(settings, destination):
            yield CheckResult(
                subject=f"commitment of {destination.name}",
                message="its AE title is in neither dicom.allowed_calling_ae_titles nor "
                "dicom.senders: the listener rejects its results, unless they come on the "
                "association of the request.",
                severity=_NOTE,
            )
        yield _explained(f"destination {destination.name}", partial(echo, settings, destination))


def is_result_rejected(settings: Settings, destination: Destination) -> bool:
    """Return whether the listener would reject the associations with a destination's results."""
    listed = settings.dicom.known_calling_ae_titles
    return (
        isinstance(destination, DimseDestination)
        and destination.storage_commitment
        and bool(listed)
        and not settings.dicom.allow_any_calling_ae_title
        and destination.ae_title not in listed
    )


def _explained(subject: str, check: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(subject=subject, message=check())
    except (ExplainedError, OSError, RedisError) as exc:
        return CheckResult(subject=subject, message=str(exc), severity=_ERROR)


def _bundle(check: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
    try:
        return list(check())
    except (ExplainedError, OSError) as exc:  # it is run on files in a temporary folder
        return [CheckResult(subject="bundle", message=str(exc), severity=_ERROR)]


def _crash_point() -> Iterator[CheckResult]:
    named = crash_point()
    if named is not None:
        yield CheckResult(
            subject=CRASH_VARIABLE,
            message=f"each part ends itself at {named}: this is for tests, unset it",
            severity=_NOTE,
        )


def _listener(settings: Settings) -> Iterator[CheckResult]:
    fault = listener_fault(settings.dicom)
    if fault is not None:
        yield CheckResult(subject="listener", message=fault, severity=_ERROR)
        return
    for each in listening_addresses(settings.dicom):
        if each.notice is None:
            yield CheckResult(subject=each.subject, message=each.message)
        else:
            yield CheckResult(
                subject=each.subject, message=f"{each.message}: {each.notice}", severity=_NOTE
            )


def _web(settings: Settings) -> Iterator[CheckResult]:
    where = f"http://{settings.web.host}:{settings.web.port}"
    fault = web_fault(settings.web)
    if fault is not None:
        yield CheckResult(subject="web", message=fault, severity=_ERROR)
    elif is_loopback(settings.web.host):
        yield CheckResult(
            subject="web", message=f"{where}, for browsers and programs on this machine"
        )
    else:
        yield CheckResult(
            subject="web",
            message=f"{where}, which other machines can reach: pages and API ask for a sign-in or "
            "a token, health and metrics for nothing. Put a proxy with TLS in front",
            severity=_NOTE,
        )


def _health(settings: Settings) -> Iterator[CheckResult]:
    group = settings.health.socket_for_group
    whom = f"the service's account{' and group' if group else ''} on this machine"
    yield CheckResult(subject="health (socket)", message=f"{settings.health_socket}, for {whom}")
    if settings.health.port is None:
        return
    where = f"http://{settings.health.host}:{settings.health.port}, without patient data"
    if is_loopback(settings.health.host):
        yield CheckResult(subject="health", message=where)
    else:
        message = f"{where}, which other machines can reach without a sign-in"
        yield CheckResult(subject="health", message=message, severity=_NOTE)


def _sign_in(settings: Settings) -> Iterator[CheckResult]:
    try:
        with open_ledger(settings) as ledger:
            notice = first_user_notice(settings, ledger)
            how = ways(settings, ledger)
    except (ExplainedError, OSError):
        return  # the check of the ledger says it
    if notice is not None:
        severity = 0 if is_loopback(settings.web.host) else _NOTE
        yield CheckResult(subject="sign-in", message=notice, severity=severity)
        return
    yield CheckResult(subject="sign-in", message=how)
    if settings.sign_in.openid_issuer is not None:
        yield _identity_provider(settings)


def _identity_provider(settings: Settings) -> CheckResult:
    subject = "identity provider"
    try:
        OpenIdProvider(settings.sign_in).check()
    except ProviderError as exc:
        return CheckResult(subject=subject, message=str(exc), severity=_NOTE)
    return CheckResult(subject=subject, message=f"{settings.sign_in.openid_issuer} answers")


def _audit(settings: Settings) -> Iterator[CheckResult]:
    if settings.audit.syslog_host is None:
        return
    notice = audit_notice(settings.audit)
    if notice is not None:
        yield CheckResult(subject="connection to syslog", message=notice, severity=_NOTE)
    yield _explained("audit export", SyslogServer(settings.audit).try_connection)


def _tracing(settings: Settings) -> Iterator[CheckResult]:
    """Ask the collector of spans, whose failure never is an error: nothing waits for it."""
    if settings.tracing.endpoint is None:
        return
    try:
        exporting = load_exporting()
        message = exporting.Collector(settings.tracing).ask()
    except ConfigurationError as exc:
        yield CheckResult(subject="tracing", message=str(exc), severity=_ERROR)
    except ExplainedError as exc:
        yield CheckResult(subject="tracing", message=str(exc), severity=_NOTE)
    else:
        yield CheckResult(subject="tracing", message=message)


def _spool(settings: Settings) -> str:
    spool = open_spool(settings)
    if not os.access(spool.incoming, os.W_OK):
        raise PermissionError(f"{spool.incoming} cannot be written. Set state_dir.")
    spool.require_room()
    free = shutil.disk_usage(spool.root).free / (1 << 30)
    return f"{settings.state_dir.absolute()}, {free:.1f} GiB free"


def _ledger(settings: Settings) -> str:
    with open_stores(settings) as (ledger, _):
        received = ledger.queries.job_counts().received
    kind = settings.ledger_url.split(":", 1)[0].split("+", 1)[0]
    return f"{kind}, at this version, {received} instances received"


def _redis(settings: Settings) -> str:
    if settings.redis.url is None:
        return f"none configured: `lobar up` starts {redis_program()}"
    client = Redis.from_url(settings.redis_url or "", socket_connect_timeout=2, socket_timeout=2)
    server = dict(client.info("server"))
    # Valkey's redis_version is only the version of Redis whose commands it has
    return f"version {server.get('valkey_version') or server.get('redis_version')} answers"
