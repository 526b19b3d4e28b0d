"""The alerts fire when they should and only then, and each says what to do."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from support.alert_rules import (
    PROMETHEUS,
    ROOT,
    RULES,
    described_metrics,
    named_metrics,
    named_records,
    panel_queries,
    rules,
)

CASES: Final = sorted(Path(__file__).with_name("prometheus").glob("*.yml"))
PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
ALERTS: Final = rules("alert")
RECORDS: Final = rules("record")
Program = Callable[[str], Path]


def run(*arguments: str | Path, cwd: Path = PROMETHEUS) -> str:
    """Run a program and return what it said; it must succeed."""
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cases(kind: str) -> list[dict[str, Any]]:
    """Return all cases of a kind in the tests of promtool."""
    return [
        case
        for path in CASES
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get(kind, [])
    ]


def sections() -> dict[str, str]:
    """Return the sections of the runbook by alert."""
    runbook = re.split(r"^## ", PAGE.split("\n## Alerts\n", 1)[1], flags=re.MULTILINE)[0]
    parts = re.split(r"^### (\w+)$", runbook, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_prometheus_and_alertmanager_take_the_files(program: Program) -> None:
    promtool = program("promtool")
    checked = run(promtool, "check", "config", "prometheus.yml")
    assert f"{len(ALERTS)} rules found" in checked
    assert run(promtool, "check", "rules", *sorted(RULES.glob("*.yml")))
    assert "SUCCESS" in run(program("amtool"), "check-config", "alertmanager.yml")


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "on-call"), ("warning", "office"), ("info", "office")]
)
def test_who_is_told_depends_on_the_severity(
    program: Program, severity: str, receiver: str
) -> None:
    route = ("config", "routes", "test", "--config.file=alertmanager.yml")
    assert run(program("amtool"), *route, f"severity={severity}").strip() == receiver


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_quiet_as_they_should(program: Program, case: Path) -> None:
    assert "SUCCESS" in run(program("promtool"), "test", "rules", case.name, cwd=case.parent)


def test_every_alert_is_seen_to_fire_and_seen_to_stay_quiet() -> None:
    fires = {
        (case["alertname"], alert["exp_labels"]["severity"])
        for case in cases("alert_rule_test")
        for alert in case["exp_alerts"]
    }
    quiet = {case["alertname"] for case in cases("alert_rule_test") if not case["exp_alerts"]}
    assert fires == {(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS}
    assert quiet == {rule["alert"] for rule in ALERTS}


def test_every_recorded_series_is_tested_and_used() -> None:
    recorded = {rule["record"] for rule in RECORDS}
    assert recorded == {case["expr"] for case in cases("promql_expr_test")}
    exprs = [rule["expr"] for rule in (*ALERTS, *RECORDS)] + [each.expr for each in panel_queries()]
    used = set().union(*map(named_records, exprs))
    assert used == recorded


@pytest.mark.parametrize(
    "rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}"
)
def test_an_alert_says_what_it_means_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert notes["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
    section = sections()[rule["alert"]]
    for word in ("**Means:**", "**Look:**", "**Do:**"):
        assert section.count(word) == 1, word


def test_the_runbook_has_a_section_for_each_alert_and_none_for_what_is_gone() -> None:
    assert list(sections()) == list(dict.fromkeys(rule["alert"] for rule in ALERTS))


def test_rules_and_dashboards_ask_for_metrics_that_exist() -> None:
    exprs = [rule["expr"] for rule in (*ALERTS, *RECORDS)] + [each.expr for each in panel_queries()]
    named = set().union(*map(named_metrics, exprs))
    assert len(named) > 40
    assert named <= described_metrics()


def test_what_alertmanager_leaves_out_are_alerts_that_exist() -> None:
    text = (PROMETHEUS / "alertmanager.yml").read_text()
    named = set(re.findall(r"Lobar[A-Z]\w+", text))
    assert named
    assert named <= {rule["alert"] for rule in ALERTS}
