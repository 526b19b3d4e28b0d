"""The seeded plan of a chaos run: which faults strike when, and what each sender sends.

The same arguments give the same plan, on every machine: what a machine cannot do is left out when
the fault is due, never when the plan is made.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

HOUR: Final = 3600
DAY: Final = 24 * HOUR
CLOCK_STEPS: Final = (
    *(HOUR, 6 * HOUR, DAY, 3 * DAY, 30 * DAY),
    *(-HOUR, -6 * HOUR, -DAY, -3 * DAY, -30 * DAY),
)
"""How far a clock may stand from the machine's, in seconds."""


class Kind(StrEnum):
    """A kind of fault."""

    KILL_LISTENER = "kill-listener"
    KILL_RELAY = "kill-relay"
    KILL_INFER = "kill-infer"
    KILL_DELIVER = "kill-deliver"
    KILL_WEB = "kill-web"
    KILL_REDIS = "kill-redis"
    KILL_SUPERVISOR = "kill-supervisor"
    FLUSH_REDIS = "flush-redis"
    STOP_REDIS = "stop-redis"
    FREEZE_REDIS = "freeze-redis"
    RESTART_POSTGRESQL = "restart-postgresql"
    KILL_POSTGRESQL = "kill-postgresql"
    ORTHANC_DOWN = "orthanc-down"
    ORTHANC_FROZEN = "orthanc-frozen"
    PACS_DOWN = "pacs-down"
    PACS_SLOW = "pacs-slow"
    PACS_HANGS = "pacs-hangs"
    PACS_FULL = "pacs-full"
    PACS_ABORTS = "pacs-aborts"
    PACS_WARNS = "pacs-warns"
    SPOOL_FULL = "spool-full"
    OUTBOX_FULL = "outbox-full"
    LEDGER_FULL = "ledger-full"
    CLOCK_STEP = "clock-step"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a fault strikes, and for how long: no two faults strike one target at a time."""

    target: str
    least_seconds: float = 0.0
    most_seconds: float = 0.0  # 0: it is over at once


RULES: Final = {
    Kind.KILL_LISTENER: Rule("listener"),
    Kind.KILL_RELAY: Rule("relay"),
    Kind.KILL_INFER: Rule("infer"),
    Kind.KILL_DELIVER: Rule("deliver"),
    Kind.KILL_WEB: Rule("web"),
    Kind.KILL_REDIS: Rule("redis"),
    Kind.KILL_SUPERVISOR: Rule("supervisor"),
    Kind.FLUSH_REDIS: Rule("redis"),
    Kind.STOP_REDIS: Rule("redis"),
    Kind.FREEZE_REDIS: Rule("redis", 1, 6),
    Kind.RESTART_POSTGRESQL: Rule("postgresql", 0, 3),
    Kind.KILL_POSTGRESQL: Rule("postgresql", 0, 3),
    Kind.ORTHANC_DOWN: Rule("orthanc", 2, 8),
    Kind.ORTHANC_FROZEN: Rule("orthanc", 2, 8),
    Kind.PACS_DOWN: Rule("pacs", 2, 8),
    Kind.PACS_SLOW: Rule("pacs", 2, 8),
    Kind.PACS_HANGS: Rule("pacs", 4, 8),
    Kind.PACS_FULL: Rule("pacs", 1, 5),
    Kind.PACS_ABORTS: Rule("pacs", 1, 5),
    Kind.PACS_WARNS: Rule("pacs", 2, 8),
    Kind.SPOOL_FULL: Rule("disk", 1, 5),
    Kind.OUTBOX_FULL: Rule("disk", 1, 5),
    Kind.LEDGER_FULL: Rule("disk", 1, 5),
    Kind.CLOCK_STEP: Rule("clock"),
}
ON_POSTGRESQL: Final = frozenset({Kind.RESTART_POSTGRESQL, Kind.KILL_POSTGRESQL})
ON_SQLITE: Final = frozenset({Kind.LEDGER_FULL})  # its file is what can find the disk full


class Layout(StrEnum):
    """Whether spool, outbox and ledger share a file system, or have one each."""

    SAME = "same"
    APART = "apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that strikes so many seconds after the beginning."""

    at: float
    kind: Kind
    seconds: float
    clock_offset: int = 0  # of a step: how far the clock then stands from the machine's

    def __str__(self) -> str:
        """Describe it in a line."""
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        stands = f" to {self.clock_offset / HOUR:+.0f} h" if self.clock_offset else ""
        return f"{self.at:7.1f} s  {self.kind}{lasts}{stands}"


class Way(StrEnum):
    """What a step of a sender sends."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the same bytes again
    CORRECTION = "correction"  # other bytes under the same SOP Instance UID


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instance to send: a version of a number is always the same bytes."""

    number: int
    version: int
    way: Way
    in_scope: bool = True  # else its header names a lateral view: not analysed, no report
    is_aborted: bool = False  # first, the association is aborted in the middle of the transfer
    gives_up: bool = False  # it is tried only once, as by a sender that does not retry


class Program(StrEnum):
    """What a sender is."""

    PYNETDICOM = "pynetdicom"
    DCMTK = "dcmtk"


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderPlan:
    """What a sender sends, association by association."""

    name: str
    program: Program
    associations: tuple[tuple[Step, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole run."""

    seed: int
    seconds: float
    instances: int  # SOP Instance UIDs; corrections come on top
    database: str
    kinds: tuple[Kind, ...]
    layout: Layout
    every: float  # seconds between faults, on average
    faults: tuple[Fault, ...]
    senders: tuple[SenderPlan, ...]

    def lines(self) -> list[str]:
        """Describe the run, with every fault, in lines."""
        steps = sum(len(each) for sender in self.senders for each in sender.associations)
        senders = ", ".join(f"{each.name} ({each.program})" for each in self.senders)
        return [
            (
                f"seed {self.seed}: {self.seconds:g} s of faults, {self.instances} instances in "
                f"{steps} transfers, ledger on {self.database}, file systems: {self.layout}"
            ),
            f"senders: {senders}",
            f"{len(self.faults)} faults of {len(self.kinds)} kinds:",
            *(str(fault) for fault in self.faults),
        ]


LONGEST_MEAN: Final = 3.0  # seconds between faults, on average: a killed worker needs some to start


def make_plan(
    *,
    seed: int,
    seconds: float,
    instances: int,
    database: str,
    kinds: Collection[Kind] = tuple(Kind),
    every: float = LONGEST_MEAN,
    senders: int = 6,
) -> Plan:
    """Make the plan of a run from its seed: a fault every so many seconds, at most, on average."""
    impossible = ON_SQLITE if database == "postgresql" else ON_POSTGRESQL
    wanted = tuple(kind for kind in Kind if kind in kinds and kind not in impossible)
    return Plan(
        seed=seed,
        seconds=seconds,
        instances=instances,
        database=database,
        kinds=wanted,
        layout=random.Random(f"{seed}/layout").choice(tuple(Layout)),
        every=every,
        faults=make_faults(random.Random(f"{seed}/faults"), seconds, wanted, every),
        senders=tuple(
            _sender(random.Random(f"{seed}/sender/{number}"), number, share)
            for number, share in enumerate(_shares(instances, senders))
        ),
    )


def make_faults(
    chance: random.Random, seconds: float, kinds: Sequence[Kind], every: float = LONGEST_MEAN
) -> tuple[Fault, ...]:
    """Draw faults from a deck that is shuffled anew when it is used up, so that none is missed."""
    if not kinds:
        return ()
    mean = min(every, 0.8 * seconds / len(kinds))
    at, deck, busy_until, faults = 0.0, list[Kind](), dict[str, float](), list[Fault]()
    while (at := round(at + mean * chance.uniform(0.4, 1.6), 1)) < seconds:
        if not deck:
            deck = chance.sample(kinds, len(kinds))
        free = [kind for kind in deck if busy_until.get(RULES[kind].target, 0.0) <= at]
        if not free:
            continue
        kind, rule = free[0], RULES[free[0]]
        deck.remove(kind)
        lasts = round(chance.uniform(rule.least_seconds, rule.most_seconds), 1)
        busy_until[rule.target] = at + lasts + 1
        offset = chance.choice(CLOCK_STEPS) if kind is Kind.CLOCK_STEP else 0
        faults.append(Fault(at=at, kind=kind, seconds=lasts, clock_offset=offset))
    return tuple(faults)


def _shares(instances: int, senders: int) -> list[int]:
    return [instances // senders + (number < instances % senders) for number in range(senders)]


MOST_IN_ASSOCIATION: Final = 20
NUMBERS_OF_SENDER: Final = 1_000_000
HIGHEST_VERSION: Final = 9


def _sender(chance: random.Random, number: int, instances: int) -> SenderPlan:
    program = Program.DCMTK if number % 3 == 2 else Program.PYNETDICOM
    steps = _steps(chance, NUMBERS_OF_SENDER * number, instances, program)
    associations, start = [], 0
    while start < len(steps):
        end = start + chance.randint(1, MOST_IN_ASSOCIATION)
        associations.append(_sorted_out(steps[start:end]))
        start = end
    return SenderPlan(
        name=f"SENDER{number}", program=program, associations=tuple(filter(None, associations))
    )


def _sorted_out(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Leave out a second step of the same bytes: one association does not send a file twice."""
    return tuple({(step.number, step.version): step for step in reversed(steps)}.values())[::-1]


def _steps(chance: random.Random, first: int, instances: int, program: Program) -> list[Step]:
    """Plan what a sender sends: new instances, and now and then an earlier one again."""
    steps: list[Step] = []
    latest: dict[int, Step] = {}
    for number in range(first, first + instances):
        step = Step(
            number=number,
            version=0,
            way=Way.NEW,
            in_scope=chance.random() > 0.03,
            is_aborted=program is Program.PYNETDICOM and chance.random() < 0.03,
            gives_up=chance.random() < 0.02,
        )
        latest[number] = step
        steps.append(step)
        again = chance.random()
        if again < 0.14:
            earlier = latest[chance.randint(max(first, number - 200), number)]
            step = _again(earlier, is_corrected=again < 0.07)
            latest[step.number] = step
            steps.append(step)
    return steps


def _again(earlier: Step, *, is_corrected: bool) -> Step:
    is_corrected = is_corrected and earlier.version < HIGHEST_VERSION
    return Step(
        number=earlier.number,
        version=earlier.version + is_corrected,
        way=Way.CORRECTION if is_corrected else Way.DUPLICATE,
        in_scope=earlier.in_scope,
    )
