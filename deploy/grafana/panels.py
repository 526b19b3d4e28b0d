"""Panels and dashboards of Grafana as JSON: what each kind needs, and where it stands.

The JSON is that of schema version 39, which Grafana 10.4 and later read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]

SCHEMA_VERSION: Final = 39
COLUMNS: Final = 24  # of Grafana's grid
DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
GREEN, ORANGE, RED = "green", "orange", "red"


@dataclass(frozen=True, slots=True)
class Query:
    """A query of PromQL, and how its series are named."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel without its place."""

    kind: str
    title: str
    description: str
    queries: Sequence[Query]
    target: Mapping[str, Any]  # what its queries have in common
    defaults: Mapping[str, Any]  # of its fields
    options: Mapping[str, Any]
    width: int
    height: int

    def json(self, number: int, x: int, y: int) -> Json:
        """Return the panel at its place."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": dict(self.defaults), "overrides": []},
            "options": dict(self.options),
            "targets": [
                {
                    "datasource": DATASOURCE,
                    "editorMode": "code",
                    "expr": query.expr,
                    "legendFormat": query.legend,
                    "refId": chr(ord("A") + place),
                    **self.target,
                }
                for place, query in enumerate(self.queries)
            ],
        }


def time_series(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    stacked: bool = False,
    width: int = 12,
) -> Panel:
    """Build a plot over time."""
    custom = {
        "drawStyle": "line",
        "fillOpacity": 30 if stacked else 8,
        "lineWidth": 1,
        "showPoints": "never",
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
    }
    return Panel(
        kind="timeseries",
        title=title,
        description=description,
        queries=queries,
        target={"format": "time_series", "range": True},
        defaults={"unit": unit, "min": 0, "custom": custom},
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        width=width,
        height=8,
    )


def stat(
    title: str,
    description: str,
    query: Query,
    *,
    unit: str = "short",
    steps: Sequence[tuple[float | None, str]] = ((None, GREEN),),
    width: int = 4,
) -> Panel:
    """Build a number, coloured from each step on."""
    thresholds = [{"color": color, "value": value} for value, color in steps]
    return Panel(
        kind="stat",
        title=title,
        description=description,
        queries=[query],
        target={"format": "time_series", "instant": True, "range": False},
        defaults={
            "unit": unit,
            "color": {"mode": "thresholds"},
            "thresholds": {"mode": "absolute", "steps": thresholds},
        },
        options={
            "colorMode": "background",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        width=width,
        height=4,
    )


def heat_map(title: str, description: str, expr: str, *, unit: str = "s", width: int = 12) -> Panel:
    """Build a heat map of a histogram: how many fell into each bucket, over time."""
    return Panel(
        kind="heatmap",
        title=title,
        description=description,
        queries=[Query(expr, "{{le}}")],
        target={"format": "heatmap", "range": True},
        defaults={"custom": {"scaleDistribution": {"type": "linear"}}},
        options={
            "calculate": False,
            "cellGap": 1,
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "scale": "exponential",
                "exponent": 0.5,
                "steps": 64,
                "reverse": False,
                "fill": "dark-orange",
            },
            "filterValues": {"le": 1e-9},  # an empty cell is left blank
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
            "yAxis": {"axisPlacement": "left", "unit": unit},
        },
        width=width,
        height=9,
    )


def table(title: str, description: str, expr: str, *, width: int = 12) -> Panel:
    """Build a table of the labels and values of now."""
    return Panel(
        kind="table",
        title=title,
        description=description,
        queries=[Query(expr, "")],
        target={"format": "table", "instant": True, "range": False},
        defaults={},
        options={"showHeader": True, "cellHeight": "sm"},
        width=width,
        height=8,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels below a title, side by side as far as they fit."""

    title: str
    panels: Sequence[Panel]


def label_variable(name: str, label: str, query: str) -> Json:
    """Return a variable whose values are those of a label."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor"},
        "refresh": 2,  # whenever the range of time changes
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "hide": 0,
        "skipUrlSync": False,
        "sort": 1,
    }


def _datasource_variable() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "includeAll": False,
        "multi": False,
        "current": {},
        "options": [],
        "hide": 0,
        "skipUrlSync": False,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard: rows of panels for one or several services."""

    name: str  # of its file, and the end of its uid
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Json] = field(default_factory=tuple)
    hours: int = 6

    def json(self) -> Json:
        """Return the dashboard as Grafana reads it from a file."""
        services = label_variable("job", "Service", "label_values(lobar_build_info, job)")
        return {
            "uid": f"lobar-{self.name}",
            "title": self.title,
            "description": self.description,
            "tags": ["lobar"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,  # the cursor is shown in every panel
            "refresh": "30s",
            "time": {"from": f"now-{self.hours}h", "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "annotations": {"list": [_firing_alerts()]},
            "links": [
                {
                    "title": "Lobar",
                    "type": "dashboards",
                    "tags": ["lobar"],
                    "asDropdown": False,
                    "includeVars": True,
                    "keepTime": True,
                    "icon": "external link",
                    "targetBlank": False,
                    "tooltip": "",
                    "url": "",
                }
            ],
            "templating": {"list": [_datasource_variable(), services, *self.variables]},
            "panels": self._placed(),
        }

    def _placed(self) -> list[Json]:
        placed: list[Json] = []
        y = 0
        for row in self.rows:
            placed.append(_row(len(placed) + 1, row.title, y))
            x, y, height = 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, height = 0, y + height, 0
                placed.append(panel.json(len(placed) + 1, x, y))
                x, height = x + panel.width, max(height, panel.height)
            y += height
        return placed


def _row(number: int, title: str, y: int) -> Json:
    place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": place,
        "panels": [],
    }


def _firing_alerts() -> Json:
    """Return the annotation that marks when alerts fired."""
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Lobar.*", alertstate="firing", job=~"$job"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{role}} {{stage}} {{destination}}",
        "step": "60s",
    }
