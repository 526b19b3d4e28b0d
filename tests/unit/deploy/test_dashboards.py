"""The dashboards are those of the program that writes them, and Grafana can place their panels."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from support.alert_rules import DASHBOARDS, ROOT, dashboards, panel_queries

COLUMNS = 24
NAMES = ("destinations", "model", "overview", "pipeline", "resources")


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard["panels"]
    return found


def differences(here: Any, there: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 -- JSON
    """Yield the paths of what is in one tree of JSON and not the same in the other."""
    if isinstance(here, dict) and isinstance(there, dict):
        for name, value in here.items():
            yield from differences(value, there.get(name), f"{path}.{name}")
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        for one, other in zip(here, there, strict=True):
            yield from differences(one, other, f"{path}[]")
    elif here != there:
        yield path


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_the_committed_files_are_what_the_program_writes(tmp_path: Path) -> None:
    program = ROOT / "deploy" / "grafana" / "build.py"
    subprocess.run([sys.executable, program, "--folder", tmp_path], check=True)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(written) == {f"{name}.json" for name in NAMES}
    assert written == {path.name: path.read_text() for path in DASHBOARDS.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_grafana_s_own_types_know_every_field(name: str) -> None:
    """Read it into the types that Grafana Labs generate from its schemas, and write it again."""
    register_default_plugins()
    ours = dashboards()[name]
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    of_prometheus = {  # which the schemas leave to the data source
        *(f".annotations.list[].{field}" for field in ("titleFormat", "textFormat", "step")),
        ".templating.list[].definition",
    }
    assert set(differences(ours, theirs)) <= of_prometheus
    ours["panels"][1]["options"]["colourMode"] = "background"
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    assert set(differences(ours, theirs)) - of_prometheus == {".panels[].options.colourMode"}


@pytest.mark.parametrize("name", NAMES)
def test_panels_lie_side_by_side_within_the_grid(name: str) -> None:
    placed = panels(dashboards()[name])
    assert len({panel["id"] for panel in placed}) == len(placed)
    places = [panel["gridPos"] for panel in placed]
    assert all(place["x"] + place["w"] <= COLUMNS for place in places)
    assert not [pair for pair in itertools.combinations(places, 2) if overlap(*pair)]


@pytest.mark.parametrize("name", NAMES)
def test_each_panel_says_what_it_shows_and_can_be_narrowed_to_a_service(name: str) -> None:
    dashboard = dashboards()[name]
    assert dashboard["uid"] == f"lobar-{name}"
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert {"datasource", "job"} <= variables
    shown = [panel for panel in panels(dashboard) if panel["type"] != "row"]
    assert len(shown) > 5
    for panel in shown:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert '$job"' in target["expr"] or "ALERTS" in target["expr"], panel["title"]


def test_the_latency_of_every_stage_is_a_heat_map() -> None:
    maps = [each.expr for each in panel_queries() if each.kind == "heatmap"]
    for histogram in (
        "lobar_receive_seconds_bucket",
        *(f'stage="{stage}"' for stage in ("decode", "predict", "report", "deliver")),
        *(f'until="{until}"' for until in ("reported", "delivered")),
    ):
        assert any(histogram in expr for expr in maps), histogram
