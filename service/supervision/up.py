"""Run the service on one machine, whole or some of its parts, with an embedded Redis if needed."""

from collections.abc import Collection, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import structlog

from service.dispatch.embedded_redis import EmbeddedRedis, prepare_redis
from service.domain.part import PartName
from service.receiving.shared_listening import SharedListening, Sharing
from service.settings import (
    LISTENING_VARIABLE,
    ConfigurationError,
    Settings,
    child_environment,
)
from service.settings.exposure import listener_fault, web_fault
from service.storage.ledger import Ledger
from service.storage.opening import open_stores, redis_url
from service.supervision.notice import print_first_user_notice
from service.supervision.supervisor import Part, Supervisor, lobar_command, sole_supervisor
from service.telemetry.heartbeat import machine

# When memory runs out, the kernel ends what can be repeated before what receives (proc(5)):
# decoders first, which set 1000 themselves, and the listener, Redis and the supervisor last.
_OOM_SCORES: Final = {
    PartName.INFER: 600,
    PartName.WEB: 300,
    PartName.DELIVER: 200,
    PartName.RELAY: 100,
    PartName.LISTENER: 0,
}
_SHADOW_OOM_SCORE: Final = 800
_EVERY_PART: Final = frozenset(PartName)

log = structlog.get_logger()


def run_up(settings: Settings, parts: Collection[PartName] = _EVERY_PART) -> None:
    """Run the parts until SIGTERM, then drain.

    Args:
        settings: of all parts.
        parts: those that run on this machine, where others run elsewhere.

    Raises:
        ConfigurationError: the listener or the pages would be exposed beyond loopback without
            the settings that allow it; or the listener cannot use its address; or some parts are
            to run without the Redis of the others.
        PortInUseError: another process listens on a port of the listener.
        NotPrivateError: other accounts of the machine can read the state directory.
        AlreadyRunningError: another `lobar up` uses the state directory.
        LedgerError, OSError: the ledger or the spool cannot be opened.
        NoRedisError: no Redis is configured and none can be started.
        PartMisconfiguredError: a part cannot work as configured.
    """
    _require_allowed(settings, parts)
    state_dir = settings.state_dir.absolute()
    with (
        sole_supervisor(state_dir),
        open_stores(settings) as (ledger, _spool),
        ExitStack() as listening,
    ):
        shares: Sequence[Sharing] = ()
        if PartName.LISTENER in parts:
            shares = listening.enter_context(closing(SharedListening(settings.dicom))).shares()
        begin_anew(ledger)
        print_first_user_notice(settings, ledger)
        redis = _redis(settings, state_dir)
        environment = child_environment(LOBAR_STATE_DIR=str(state_dir))
        if redis is not None:
            environment["LOBAR_REDIS__URL"] = redis.url
        Supervisor(
            parts_of_machine(redis, shares, parts, has_shadow=settings.shadow.path is not None),
            ledger,
            environment=environment,
            drain_seconds=settings.drain_seconds,
            start_seconds=settings.start_seconds,
            stuck_seconds=settings.stuck_seconds,
        ).run(listening.close)


def _require_allowed(settings: Settings, parts: Collection[PartName]) -> None:
    """Require that the settings allow what these parts expose, and name the Redis they share."""
    faults = {
        PartName.LISTENER: listener_fault(settings.dicom),
        PartName.WEB: web_fault(settings.web),
    }
    for part, fault in faults.items():
        if part in parts and fault is not None:
            raise ConfigurationError(fault)
    if set(parts) != _EVERY_PART:
        redis_url(settings)


def begin_anew(ledger: Ledger) -> None:
    """Release what an earlier run on this machine held, and close the breaker of its workers.

    A person who starts the service may have corrected what the breaker opened for.
    """
    released = ledger.release(machine())
    if released:
        log.warning("leases_released", count=released)
    ledger.breakers.close(f"{machine()}infer/")


def _redis(settings: Settings, state_dir: Path) -> EmbeddedRedis | None:
    return None if settings.redis.url else prepare_redis(state_dir / "redis")


def parts_of_machine(
    redis: EmbeddedRedis | None,
    shares: Sequence[Sharing],
    parts: Collection[PartName] = _EVERY_PART,
    *,
    has_shadow: bool = False,
) -> list[Part]:
    """Return the parts of one machine, with the embedded Redis if there is one.

    Args:
        redis: the embedded Redis.
        shares: what each listener shares with the others.
        parts: those that run here.
        has_shadow: whether a shadow model reads what is reported, beside the infer worker.
    """
    run = [  # in the order in which they start: loading the model takes longest
        _part(PartName.INFER, "worker", "infer"),
        *map(_listener, shares),
        _part(PartName.DELIVER, "worker", "deliver"),
        _part(PartName.RELAY, "relay"),
        _part(PartName.WEB, "web"),
    ]
    here = [part for part in run if part.role in parts]
    if has_shadow and PartName.INFER in parts:  # last: nobody waits for it
        command = lobar_command("worker", "shadow")
        here.append(Part(role="shadow", command=command, oom_score=_SHADOW_OOM_SCORE))
    if redis is not None:
        redis_part = Part(
            role="redis", command=redis.command(), is_needed_by_others=True, is_watched=False
        )
        here.insert(0, redis_part)
    return here


def _part(name: PartName, *words: str) -> Part:
    return Part(role=name, command=lobar_command(*words), oom_score=_OOM_SCORES[name])


def _listener(share: Sharing) -> Part:
    return Part(
        role=PartName.LISTENER,
        command=lobar_command("listener"),
        oom_score=_OOM_SCORES[PartName.LISTENER],
        variables={LISTENING_VARIABLE: share.variable()},
        descriptors=share.descriptors(),
        waits_at_first=share.number > 1,
    )
