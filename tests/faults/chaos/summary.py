"""The result of a chaos run, as a table for people and as JSON to keep."""

import json
from collections import Counter
from typing import Any, Final

from faults.chaos.run import Outcome
from faults.chaos.schedule import Way

FORMAT: Final = 1
SUCCESS: Final = "0x0000"


def as_record(outcome: Outcome) -> dict[str, Any]:
    """Return the result as values that JSON has; `format` counts its changes."""
    plan, verdict = outcome.plan, outcome.verdict
    new = {each.version[0] for each in outcome.sent}
    acknowledged = [each for each in outcome.sent if each.acknowledged]
    seconds = outcome.fault_seconds + outcome.settle_seconds
    return {
        "format": FORMAT,
        "seed": plan.seed,
        "seconds": plan.seconds,
        "every": plan.every,
        "database": plan.database,
        "file_systems": plan.layout,
        "kinds": list(plan.kinds),
        "schedule": [str(fault) for fault in plan.faults],
        "instances_sent": len(new),
        "versions_sent": len(outcome.sent),
        "versions_acknowledged": len(acknowledged),
        "transfers": dict(outcome.transfers),
        "responses": dict(outcome.responses),
        "given_up_by_senders": outcome.given_up,
        "faults": {str(kind): count for kind, count in outcome.happened.items()},
        "faults_left_out": dict(outcome.left_out),
        "supervisor_exits": outcome.exits,
        "reports": {
            name: len({each.report_uid for each in held}) for name, held in outcome.held.items()
        },
        "stores": {name: len(held) for name, held in outcome.held.items()},
        "ledger_received": outcome.at_rest.received,
        "not_analysed": int(outcome.metrics.get('lobar_jobs{state="not_analysed"}', 0)),
        "parked": dict(Counter(reason for _, reason in outcome.at_rest.parked)),
        "in_flight": outcome.at_rest.in_flight,
        "balance": outcome.at_rest.balance,
        "balance_seen": len(outcome.at_rest.balances),  # how often, while the faults struck
        "lost": len(verdict.lost),
        "doubled": len(verdict.doubled),
        "changed": len(verdict.changed),
        "unasked": len(verdict.unasked),
        "unexpectedly_parked": len(verdict.unexpectedly_parked),
        "wrong": outcome.faults,
        "fault_seconds": round(outcome.fault_seconds, 1),
        "settle_seconds": round(outcome.settle_seconds, 1),
        "acknowledged_per_second": round(len(acknowledged) / outcome.fault_seconds, 1),
        "finished_per_second": round(outcome.at_rest.received / seconds, 1),
    }


def as_json(outcome: Outcome) -> str:
    """Return the result as text to keep."""
    return json.dumps(as_record(outcome), indent=2) + "\n"


def as_table(outcome: Outcome) -> str:
    """Return the result as a table, and every fault below it."""
    record = as_record(outcome)
    refused = {answer: count for answer, count in record["responses"].items() if answer != SUCCESS}
    rows = [
        ("seed, database, file systems", _listed(record, "seed", "database", "file_systems")),
        ("instances sent", record["instances_sent"]),
        ("versions of them sent", record["versions_sent"]),
        ("versions acknowledged", record["versions_acknowledged"]),
        ("not acknowledged, by answer", _counted(refused)),
        ("duplicates, corrections", _transfers(record, Way.DUPLICATE, Way.CORRECTION)),
        ("given up by senders", record["given_up_by_senders"]),
        ("faults", _counted(record["faults"])),
        ("faults left out", _counted(record["faults_left_out"])),
        ("exits of lobar up by itself", record["supervisor_exits"] or "none"),
        ("received by the ledger", record["ledger_received"]),
        ("not analysed", record["not_analysed"]),
        ("reports in each PACS", _counted(record["reports"])),
        ("parked, by reason", _counted(record["parked"])),
        ("in flight, balance, times seen", _listed(record, "in_flight", "balance", "balance_seen")),
        ("lost", record["lost"]),
        ("doubled", record["doubled"]),
        ("changed, unasked", _listed(record, "changed", "unasked")),
        ("seconds of faults, until rest", _listed(record, "fault_seconds", "settle_seconds")),
        (
            "acknowledged, finished a second",
            _listed(record, "acknowledged_per_second", "finished_per_second"),
        ),
    ]
    lines = [f"  {name:<32}{value}" for name, value in rows]
    return "\n".join([*lines, *(f"WRONG: {fault}" for fault in outcome.faults[:50])])


def _listed(record: dict[str, Any], *names: str) -> str:
    return ", ".join(str(record[name]) for name in names)


def _transfers(record: dict[str, Any], *ways: Way) -> str:
    return ", ".join(str(record["transfers"].get(way, 0)) for way in ways)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
