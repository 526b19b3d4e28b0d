"""The verdict on a run, from outside: what senders were told against what each PACS holds.

Pure: it compares records, whoever made them.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

Version = tuple[str, int]
"""The SOP Instance UID of an instance, and which of its versions: other bytes, another number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A version of an instance that was sent at least once."""

    version: Version
    acknowledged: bool  # a sender received Success for it
    in_scope: bool  # a report is due; else it ends as not analysed, without one


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A report that a PACS holds."""

    report_uid: str
    about: Version
    sha256: str = ""  # of its data set as sent; blank where the PACS keeps it otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class AtRest:
    """What the service says of itself when nothing moves any more, and what it said before."""

    received: int
    balance: int
    in_flight: int
    parked: Sequence[tuple[str, str]] = ()  # SOP Instance UID and reason of each parked job
    balances: Sequence[int] = ()  # as seen now and then, while the faults struck


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is wrong with a run; every list is empty where nothing is."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)
    unexpectedly_parked: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Every fault as a line."""
        return [
            f"{name}: {each}"
            for name in ("lost", "doubled", "changed", "unasked", "unbalanced")
            for each in getattr(self, name)
        ] + [f"parked: {each}" for each in self.unexpectedly_parked]


def judge(
    sent: Sequence[Sent],
    held: Mapping[str, Sequence[Held]],
    at_rest: AtRest,
    expected_reasons: Collection[str] = (),
) -> Verdict:
    """Compare what was sent with what each PACS holds, and with what the service says.

    Args:
        sent: Every version that left a sender.
        held: Every report that each PACS holds, by the name of the PACS.
        at_rest: What the service says of itself.
        expected_reasons: For which reasons the faults of the run may park a job.
    """
    excused = Counter(uid for uid, reason in at_rest.parked if reason in expected_reasons)
    verdict = Verdict(
        unbalanced=_unbalanced(sent, at_rest),
        unexpectedly_parked=[
            f"{uid} for {reason}"
            for uid, reason in at_rest.parked
            if reason not in expected_reasons
        ],
    )
    for name, reports in held.items():
        by_version: dict[Version, list[Held]] = defaultdict(list)
        for report in reports:
            by_version[report.about].append(report)
        verdict.lost.extend(_lost(name, sent, by_version, Counter(excused)))
        verdict.doubled.extend(_doubled(name, by_version))
        verdict.unasked.extend(_unasked(name, sent, by_version))
    verdict.changed.extend(_changed(held))
    return verdict


def _lost(
    name: str,
    sent: Sequence[Sent],
    held: Mapping[Version, Sequence[Held]],
    excused: Counter[str],
) -> list[str]:
    """List what was acknowledged and has no report, unless a parked job accounts for it."""
    lost = []
    for each in sent:
        uid, number = each.version
        if not (each.acknowledged and each.in_scope) or each.version in held:
            continue
        if excused[uid]:
            excused[uid] -= 1
        else:
            lost.append(f"{uid}, version {number}, was acknowledged; {name} has no report of it")
    return lost


def _doubled(name: str, held: Mapping[Version, Sequence[Held]]) -> list[str]:
    return [
        f"{uid}, version {number}, has {len(reports)} reports in {name}"
        for (uid, number), reports in held.items()
        if len({report.report_uid for report in reports}) > 1
    ]


def _unasked(name: str, sent: Sequence[Sent], held: Mapping[Version, Sequence[Held]]) -> list[str]:
    """List reports of what no sender sent, or of what is not to be analysed."""
    asked = {each.version for each in sent if each.in_scope}
    return [
        f"{name} has a report of {uid}, version {number}"
        for uid, number in held
        if (uid, number) not in asked
    ]


def _changed(held: Mapping[str, Sequence[Held]]) -> list[str]:
    """List reports that were sent under the same UID with other bytes."""
    digests: dict[str, set[str]] = defaultdict(set)
    for reports in held.values():
        for report in reports:
            if report.sha256:
                digests[report.report_uid].add(report.sha256)
    return [f"report {uid}" for uid, found in digests.items() if len(found) > 1]


def _unbalanced(sent: Sequence[Sent], at_rest: AtRest) -> list[str]:
    acknowledged = sum(each.acknowledged for each in sent)
    faults = []
    if at_rest.balance:
        faults.append(f"lobar_balance is {at_rest.balance}")
    disturbed = [each for each in at_rest.balances if each]
    if disturbed:
        faults.append(
            f"lobar_balance was not 0 in {len(disturbed)} of {len(at_rest.balances)} answers: "
            f"{min(disturbed)} to {max(disturbed)}"
        )
    if at_rest.in_flight:
        faults.append(f"{at_rest.in_flight} jobs are in flight at rest")
    if not acknowledged <= at_rest.received <= len(sent):
        faults.append(
            f"{at_rest.received} were received, of {acknowledged} that were acknowledged and "
            f"{len(sent)} that were sent"
        )
    return faults
