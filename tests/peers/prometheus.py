"""Debian's Prometheus and Alertmanager, each with a folder and a configuration of the test.

Prometheus has the rules of deploy/prometheus on a faster clock: every duration in them is divided
by `FASTER`, and what a site may change is the test's. Expressions, labels and texts are the same.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from support.alert_rules import PROMETHEUS, RULES
from support.system.http import HTTP
from support.system.ports import LOOPBACK, free_port
from support.system.process import Server
from support.system.programs import need_program

FASTER: Final = 60
SCRAPE_SECONDS: Final = 1
_AHEAD: Final = ", 86400)"  # how far predict_linear looks
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Alertmanager:
    """A running Alertmanager with the routes of deploy/prometheus and no receiver that tells."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._amtool = need_program("amtool")
        self._server = Server(
            [
                need_program("prometheus-alertmanager"),
                f"--config.file={_quick_routes(folder)}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={LOOPBACK}:{self.port}",
                "--cluster.listen-address=",  # no cluster
            ],
            log=folder / "log",
            answers=lambda: _is_ready(self.url),
        )
        self.start = self._server.start
        self.kill = self._server.kill

    def alerts(self, *, inhibited: bool = False) -> list[dict[str, Any]]:
        """Return the active alerts as amtool lists them, or those that another one inhibits."""
        options = ["--inhibited"] if inhibited else []
        query = (f"--alertmanager.url={self.url}", "alert", "query", "--output=json", *options)
        done = subprocess.run([self._amtool, *query], check=True, capture_output=True, text=True)
        listed: list[dict[str, Any]] = json.loads(done.stdout)
        return listed

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire, also of those that are inhibited."""
        alerts = [*self.alerts(), *self.alerts(inhibited=True)]
        return {each["labels"]["alertname"] for each in alerts}


class Prometheus:
    """A running Prometheus that scrapes targets as the job `lobar`, once a second."""

    def __init__(
        self,
        folder: Path,
        targets: Sequence[str],
        alertmanager: Alertmanager,
        *,
        site: str,
        history: str,
    ) -> None:
        """Prepare it with the rules of the site, and what it scraped before in OpenMetrics."""
        folder.mkdir()
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        _remember(history, folder)
        self._server = Server(
            [
                need_program("prometheus"),
                f"--config.file={_configuration(folder, targets, alertmanager, site)}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={LOOPBACK}:{self.port}",
            ],
            log=folder / "log",
            answers=lambda: _is_ready(self.url),
        )
        self.start = self._server.start
        self.kill = self._server.kill
        self.log = self._server.log

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Execute a query now and return its series; one that is wrong fails the test."""
        answer = HTTP.get(f"{self.url}/api/v1/query", params={"query": expr}).json()
        assert answer["status"] == "success", (expr, answer)
        series: list[dict[str, Any]] = answer["data"]["result"]
        return series

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules as they were last evaluated."""
        answer = HTTP.get(f"{self.url}/api/v1/rules").json()
        return [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    def samples(self) -> int:
        """Return how often the service was scraped."""
        counted = self.query('count_over_time(up{job="lobar"}[1h])')
        return int(counted[0]["value"][1]) if counted else 0


def faster(text: str) -> str:
    """Divide every duration of a file of rules by `FASTER`; none becomes shorter than a second."""

    def shorter(found: re.Match[str]) -> str:
        return f"{max(1, int(found[1]) * _SECONDS[found[2]] // FASTER)}s"

    text = text.replace(_AHEAD, f", {86_400 // FASTER})")
    return re.sub(r"(?<![\w.])(\d+)([smhd])\b", shorter, text)


def _configuration(
    folder: Path, targets: Sequence[str], alertmanager: Alertmanager, site: str
) -> Path:
    rules = folder / "rules"
    shutil.copytree(RULES, rules)
    for path in rules.glob("*.yml"):
        path.write_text(faster(path.read_text()))
    (rules / "site.yml").write_text(site)
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    configuration["global"] = {
        "scrape_interval": f"{SCRAPE_SECONDS}s",
        "evaluation_interval": f"{SCRAPE_SECONDS}s",
    }
    configuration["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [
        f"{LOOPBACK}:{alertmanager.port}"
    ]
    (folder / "targets").mkdir()
    (folder / "targets" / "lobar.yml").write_text(yaml.safe_dump([{"targets": list(targets)}]))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    return path


def _remember(history: str, folder: Path) -> None:
    """Write samples of the past into the folder of the data, as if they had been scraped."""
    text = folder / "history.txt"
    text.write_text(history)
    subprocess.run(
        [
            *(need_program("promtool"), "tsdb", "create-blocks-from", "openmetrics"),
            *(text, folder / "data"),
        ],
        check=True,
        capture_output=True,
    )


def _quick_routes(folder: Path) -> Path:
    configuration = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    configuration["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(configuration))
    return path


def _is_ready(url: str) -> bool:
    try:
        return HTTP.get(f"{url}/-/ready").is_success
    except httpx.TransportError:
        return False
