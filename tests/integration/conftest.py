"""What every integration test has: a log that costs nothing, a report and an overlay to send."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog
from synthetic.report_sources import NOW, predicted, radiograph

from workers.reporting.overlay.secondary_capture import build_overlay
from workers.reporting.sr.report import build_report


@pytest.fixture(autouse=True)
def _plain_log() -> Iterator[None]:
    """Structlog by itself paints each exception for a second; the service never does."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outbox") / "report.sr.dcm"
    path.write_bytes(build_report(radiograph(names="Japanese"), predicted(), now=NOW).encode())
    return path


@pytest.fixture(scope="module")
def overlay(report: Path) -> Path:
    picture = np.linspace(0, 1, 300 * 200, dtype=np.float32).reshape(300, 200)
    path = report.with_name("overlay.dcm")
    path.write_bytes(build_overlay(radiograph(), picture, predicted(), now=NOW).encode())
    return path
