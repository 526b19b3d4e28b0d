"""From the headers of received instances to the index that the alert is about.

Ledger, spool and reports are the real ones; the predictor is a stand-in, whose number is a mean.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from support.inference_worker import Workspace
from synthetic.objects import make_cr

from service.telemetry.drift import DriftMonitor
from service.telemetry.ledger_collector import LedgerMetrics

LARGE: Final = 0.25
REFERENCE: Final = {
    "format": 1,
    "inputs": {
        "view": {"of": "the training", "counts": {"PA": 480, "AP": 20}},
        "kvp": {"of": "the training", "counts": {"120 to 130": 500}},
        "manufacturer": {"of": "the training", "counts": {"siemens": 500}},
    },
}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "reference.json").write_text(json.dumps(REFERENCE))
    opened = Workspace(tmp_path / "state", bundle={"path": bundle}, drift={"fewest_instances": 50})
    yield opened
    opened.ledger.close()


def week(workspace: Workspace, number: int, *, view: str, kvp: str) -> dict[str, float]:
    """Let a week pass in which so many films are received and reported; return the samples."""
    workspace.clock.pass_seconds(8 * 86_400)
    for place in range(number):
        instance = make_cr()
        instance.Manufacturer, instance.KVP = "SIEMENS", kvp
        instance.ViewPosition = "AP" if place == 0 else view
        workspace.receive(instance)
    with ThreadPoolExecutor(2) as decoders:
        workspace.worker(decoders).infer_due()
    collector = LedgerMetrics(workspace.settings, workspace.ledger, workspace.spool)
    collector._drift = DriftMonitor(
        workspace.settings, workspace.ledger, lambda: workspace.clock() + 1
    )
    families = {each.name: each for each in collector.collect()}
    assert families["lobar_drift_window_instances"].samples[0].value == number
    return {each.labels["input"]: each.value for each in families["lobar_drift_psi"].samples}


def test_a_quiet_week_stays_below_the_alert_and_a_new_protocol_passes_it(
    workspace: Workspace,
) -> None:
    usual = week(workspace, 50, view="PA", kvp="125")
    assert {"view", "kvp", "manufacturer"} <= usual.keys()
    assert max(usual[each] for each in ("view", "kvp", "manufacturer")) < 0.1
    other = week(workspace, 50, view="AP", kvp="70")
    assert min(other["view"], other["kvp"]) > LARGE
    assert other["manufacturer"] < 0.1
