"""What the figures are held against: the aims that the project has set itself, as data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.harness.figures import Figure, PartResult, ratio
from bench.harness.tables import number


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Names figures by their part and the beginnings of their table, case and subject."""

    part: str
    table: str
    case: str = ""
    subject: str = ""

    def found(self, parts: Sequence[PartResult]) -> Sequence[Figure]:
        """Return the figures that it names."""
        return [
            figure
            for part in parts
            if part.name == self.part
            for figure in part.figures
            if figure.table.startswith(self.table)
            and figure.case.startswith(self.case)
            and figure.subject.startswith(self.subject)
        ]

    def best(self, parts: Sequence[PartResult], *, least: bool) -> Figure | None:
        """Return the figure with the best median, or None where there is none."""
        found = self.found(parts)
        if not found:
            return None
        return (min if least else max)(found, key=lambda each: each.median)

    def sum(self, parts: Sequence[PartResult]) -> float:
        """Return the sum of the medians."""
        return sum(each.median for each in self.found(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A bound for a figure, or for its ratio to another."""

    words: str
    of: Selector
    over: Selector | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def selectors(self) -> Sequence[Selector]:
        """The figures that it needs."""
        return (self.of,) if self.over is None else (self.of, self.over)

    def measured(self, parts: Sequence[PartResult]) -> float | None:
        """Return the figure, or None where it was not measured."""
        least = self.at_most is not None
        figure = self.of.best(parts, least=least)
        if figure is None:
            return None
        if self.over is None:
            return figure.median
        other = self.over.best(parts, least=least)
        return None if other is None else ratio(figure, other)

    def is_met(self, value: float) -> bool:
        """Return whether a figure is within the bound."""
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthAim:
    """A bound for what an image costs in a large ledger, over what it costs in a small one.

    Of all that an image costs the ledger's share is what its rows can change. Both are measured by
    themselves; the share as time that passed, which is more than processor time.
    """

    words: str
    image: Selector  # what an image costs in a small ledger, by role
    large: Selector  # the ledger's share, by step
    small: Selector
    at_most: float
    at_least: None = None

    @property
    def selectors(self) -> Sequence[Selector]:
        """The figures that it needs."""
        return self.image, self.large, self.small

    def measured(self, parts: Sequence[PartResult]) -> float | None:
        """Return the ratio, or None where a part of it was not measured."""
        image, large, small = (each.sum(parts) for each in self.selectors)
        return (image + large - small) / image if image and large and small else None

    def is_met(self, value: float) -> bool:
        """Return whether a ratio is within the bound."""
        return value <= self.at_most


KINDS: Final = ("7.2 MB uncompressed", "0.68 MB JPEG 2000")
_RATE: Final = "Images a second"


def _receiving() -> Iterator[Aim]:
    bounds = ((1, 2.0, 1.0), (4, 2.0, 1.0), (16, 1.5, 0.9))
    for kind in KINDS:
        for associations, orthanc, storescp in bounds:
            ending = "" if associations == 1 else "s"
            case = f"{kind}, {associations} association{ending}"
            for peer, bound in (("Orthanc", orthanc), ("storescp --fork", storescp)):
                yield Aim(
                    words=f"receiving, {case}: Lobar / {peer}",
                    of=Selector(part="receive", table=_RATE, case=case, subject="Lobar"),
                    over=Selector(part="receive", table=_RATE, case=case, subject=peer),
                    at_least=bound,
                )


def _end_to_end() -> Iterator[Aim]:
    table = "Success to all outputs acknowledged, ms"
    for kind in KINDS:
        for name, bound in (("p50", 100), ("p95", 200)):
            case = f"{kind}, 1 image a second: {name}"
            of = Selector(part="end-to-end", table=table, case=case)
            yield Aim(words=f"Success to all outputs, ms, {case}", of=of, at_most=bound)
    for kind in (*KINDS, "8.4 MB uncompressed"):
        burst = Selector(part="end-to-end", table=_RATE, case=f"{kind}, a burst")
        yield Aim(words=f"images a second, {kind}, a burst", of=burst, at_least=20)
        yield Aim(
            words=f"{kind}: a burst / the forward pass alone",
            of=burst,
            over=Selector(part="forward", table=_RATE),
            at_least=0.8,
        )


def _others() -> Iterator[Aim | GrowthAim]:
    for kind in KINDS:
        table = "Images a second received"
        under, alone = (
            Selector(part="under-inference", table=table, case=kind, subject=subject)
            for subject in ("under inference", "inference stopped")
        )
        yield Aim(
            words=f"receiving, {kind}: under full inference / alone",
            of=under,
            over=alone,
            at_least=0.8,
        )
    start = Selector(part="start-up", table="Seconds until ready", case="infer")
    yield Aim(words="seconds until the infer worker is ready", of=start, at_most=4)
    memory = Selector(
        part="start-up", table="Memory when ready, MB", case="infer", subject="largest"
    )
    yield Aim(words="memory of the infer worker when ready, MB", of=memory, at_most=400)
    kind, rows = KINDS[0], "1,000,000 rows, 100,000 due"
    yield GrowthAim(
        words=f"what an image of {kind} costs: {rows} / 100 rows",
        image=Selector(part="end-to-end", table="Processor time", case=kind),
        large=Selector(part="backlog", table="Milliseconds a job", subject=rows),
        small=Selector(part="backlog", table="Milliseconds a job", subject="100 rows"),
        at_most=1.1,
    )
    idle = Selector(part="idle", table="Share", case="60 idle associations", subject="Lobar")
    yield Aim(words="60 idle associations, share of one core, %", of=idle, at_most=10)
    echo = Selector(part="idle", table="ms", case="association and C-ECHO", subject="Lobar")
    yield Aim(words="association and C-ECHO, ms", of=echo, at_most=5)
    report = Selector(
        part="reporting", table="Processor", case="report and overlay, present", subject="Lobar"
    )
    yield Aim(words="report and overlay, ms of one core", of=report, at_most=20)
    objects = Selector(
        part="delivery", table="Objects a second", case="storescp as installed", subject="Lobar"
    )
    yield Aim(words="objects a second to storescp as installed", of=objects, at_least=100)
    files = Selector(part="gpu", table=_RATE, case="from files")
    yield Aim(words="GPU: images a second from files", of=files, at_least=1000)
    busy = Selector(part="gpu", table="GPU busy", case="from memory")
    yield Aim(words="GPU: busy when fed from memory, %", of=busy, at_least=80)


AIMS: Final[Sequence[Aim | GrowthAim]] = (*_receiving(), *_end_to_end(), *_others())


def table_of_aims(parts: Sequence[PartResult]) -> str:
    """Return a table of the aims that were measured, and whether they are met."""
    lines = ["| | aim | measured | |", "|---|---:|---:|---|"]
    for aim in AIMS:
        value = aim.measured(parts)
        if value is None:
            continue
        bound = f"≥ {aim.at_least:g}" if aim.at_least is not None else f"≤ {aim.at_most:g}"
        met = "met" if aim.is_met(value) else "**not met**"
        lines.append(f"| {aim.words} | {bound} | {number(value)} | {met} |")
    return "\n".join(lines)
