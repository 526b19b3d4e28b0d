"""FastAPI makes no spans of requests, whose paths and queries may name patients."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[4]
APPLICATIONS: Final = {"FastAPI", "DescribedApplication"}
# A provider of spans, as an agent in the process would set one; it notes the names of spans.
PROGRAM: Final = """
import json
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import trace
from service.web.serving.no_telemetry import NO_TELEMETRY

names = []

class Tracer(trace.NoOpTracer):
    def start_span(self, name, *_, **__):
        names.append(name)
        return trace.INVALID_SPAN

class Provider(trace.TracerProvider):
    def get_tracer(self, *_, **__):
        return Tracer()

trace.set_tracer_provider(Provider())
counts = []
for application in (FastAPI(), FastAPI(telemetry=NO_TELEMETRY)):
    names.clear()
    application.get("/jobs/{name}")(lambda name: name)
    assert TestClient(application).get("/jobs/Zzyzx?q=Zzyzx").status_code == 200
    counts.append(len(names))
print(json.dumps(counts))
"""


def test_a_provider_in_the_process_gets_no_span_of_a_request() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    by_itself, ours = json.loads(done.stdout)
    assert by_itself > 0, "FastAPI by itself makes spans"
    assert ours == 0


def test_each_application_is_built_without() -> None:
    built = [
        (path.name, {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords})
        for path in (ROOT / "service").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in APPLICATIONS
    ]
    assert sorted(name for name, _ in built) == ["app.py", "health_server.py"]
    assert all(options["telemetry"] == "NO_TELEMETRY" for _, options in built)
