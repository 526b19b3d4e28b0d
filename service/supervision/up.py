"""Run the whole service on one machine, with an embedded Redis when none is configured."""

from pathlib import Path
from typing import Final

import structlog

from service.dispatch.embedded_redis import EmbeddedRedis, prepare_redis
from service.settings import ConfigurationError, Settings, child_environment
from service.settings.exposure import listener_fault, web_fault
from service.storage.ledger import Ledger
from service.storage.opening import open_stores
from service.supervision.notice import print_first_user_notice
from service.supervision.supervisor import Part, Supervisor, lobar_command, sole_supervisor
from service.telemetry.heartbeat import machine

# When memory runs out, the kernel ends what can be repeated before what receives (proc(5)):
# decoders first, which set 1000 themselves, and the listener, Redis and the supervisor last.
_OOM_SCORES: Final = {"infer": 600, "web": 300, "deliver": 200, "relay": 100, "listener": 0}

log = structlog.get_logger()


def run_up(settings: Settings) -> None:
    """Run every part until SIGTERM, then drain.

    Raises:
        ConfigurationError: the listener or the pages would be exposed beyond loopback without
            the settings that allow it.
        NotPrivateError: other accounts of the machine can read the state directory.
        AlreadyRunningError: another `lobar up` uses the state directory.
        LedgerError, OSError: the ledger or the spool cannot be opened.
        NoRedisError: no Redis is configured and none can be started.
        PartMisconfiguredError: a part cannot work as configured.
    """
    for fault in (listener_fault(settings.dicom), web_fault(settings.web)):
        if fault is not None:
            raise ConfigurationError(fault)
    state_dir = settings.state_dir.absolute()
    with sole_supervisor(state_dir), open_stores(settings) as (ledger, _spool):
        begin_anew(ledger)
        print_first_user_notice(settings, ledger)
        redis = _redis(settings, state_dir)
        environment = child_environment(LOBAR_STATE_DIR=str(state_dir))
        if redis is not None:
            environment["LOBAR_REDIS__URL"] = redis.url
        Supervisor(
            parts_of_machine(redis),
            ledger,
            environment=environment,
            drain_seconds=settings.drain_seconds,
            start_seconds=settings.start_seconds,
            stuck_seconds=settings.stuck_seconds,
        ).run()


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


def parts_of_machine(redis: EmbeddedRedis | None) -> list[Part]:
    """Return the parts of one machine, with the embedded Redis if there is one."""
    parts = [  # in the order in which they start: loading the model takes longest
        Part(
            role="infer", command=lobar_command("worker", "infer"), oom_score=_OOM_SCORES["infer"]
        ),
        Part(role="listener", command=lobar_command("listener"), oom_score=_OOM_SCORES["listener"]),
        Part(
            role="deliver",
            command=lobar_command("worker", "deliver"),
            oom_score=_OOM_SCORES["deliver"],
        ),
        Part(role="relay", command=lobar_command("relay"), oom_score=_OOM_SCORES["relay"]),
        Part(role="web", command=lobar_command("web"), oom_score=_OOM_SCORES["web"]),
    ]
    if redis is not None:
        redis_part = Part(
            role="redis", command=redis.command(), is_needed_by_others=True, is_watched=False
        )
        parts.insert(0, redis_part)
    return parts
