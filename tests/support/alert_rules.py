"""The rules and dashboards of deploy/, as tests read them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
RULES: Final = PROMETHEUS / "rules"
DASHBOARDS: Final = ROOT / "deploy" / "grafana" / "dashboards"
METRICS_PAGE: Final = ROOT / "docs" / "metrics.md"
OF_PROMETHEUS: Final = {"up", "ALERTS", "scrape_duration_seconds"}
OF_HUNDREDS: Final = {"lobar_drift_psi"}  # no sample below `drift.fewest_instances`


def rules(kind: str) -> list[dict[str, Any]]:
    """Return all rules of a kind: `alert` or `record`."""
    groups = [
        group
        for path in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """A query of a panel."""

    dashboard: str
    panel: str
    kind: str
    expr: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel}"


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the committed dashboards by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panel_queries() -> Iterator[PanelQuery]:
    """Yield every query of every panel."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield PanelQuery(name, panel["title"], panel["type"], target["expr"])


def described_metrics() -> set[str]:
    """Return the names of the metrics in docs/metrics.md."""
    rows = re.findall(r"^\| `(lobar_\w+)` \| \w+ \|", METRICS_PAGE.read_text(), re.MULTILINE)
    assert len(rows) > 40
    return set(rows)


def named_metrics(expr: str) -> set[str]:
    """Return the names of the metrics in a query, those of recorded series left out."""
    without_text = re.sub(r'"[^"]*"', "", expr)
    names = re.findall(r"(?<![\w:])lobar_\w+", without_text)
    return {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in names}


def named_records(expr: str) -> set[str]:
    """Return the names of the recorded series in a query."""
    return set(re.findall(r"[a-z_]+:[a-z0-9_:]+", re.sub(r'"[^"]*"', "", expr)))


def needs_hundreds(expr: str) -> bool:
    """Return whether a query has no data before hundreds of instances were analysed."""
    return bool(named_metrics(expr) & OF_HUNDREDS)
