from collections.abc import Iterator
from pathlib import Path

import pytest
from support.study import KeptStudy, keep_study
from support.web_server import Web
from synthetic.objects import make_cr


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path / "state").running() as running:
        yield running


@pytest.fixture(scope="module")
def quiet_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One server for the tests of a module that change nothing that another one reads."""
    with Web(tmp_path_factory.mktemp("web") / "state").running() as running:
        yield running


@pytest.fixture(scope="module")
def study(quiet_web: Web) -> KeptStudy:
    """A study that `quiet_web` holds."""
    source = make_cr(rows=64, columns=48, patient_name="Müller^Jörg", charset="ISO_IR 100")
    source.AccessionNumber = "A-1"
    source.StudyDate = "20260503"
    return keep_study(quiet_web, source)
