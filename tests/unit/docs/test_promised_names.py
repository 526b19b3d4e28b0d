"""The names that outside programs use: dashboards, scripts and configurations break with them.

`promised_names.json` has them written down. To add one, add it there and to its page; to rename or
remove one, also write an entry in the changelog.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from service import errors
from service.dicom.statuses import REJECTION_STATUSES
from service.domain.reasons import Reason
from service.settings import (
    DimseDestination,
    EmailDestination,
    FhirDestination,
    Hl7Destination,
    Section,
    Settings,
    WebDestination,
    WebhookDestination,
)
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.telemetry import metrics
from service.telemetry.ledger_collector import LedgerMetrics
from service.web.api import v1

PROMISED: Final[dict[str, Any]] = json.loads(
    Path(__file__).with_name("promised_names.json").read_text()
)
INSTALLATION: Final = {"bundle.path"}  # settings whose default is a place in the installation


def counted_metrics() -> Iterator[tuple[str, list[str]]]:
    """Yield each metric that a process counts, by family name, with its labels."""
    known = {id(each) for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)}
    for collector in REGISTRY._collector_to_names:
        if id(collector) in known and isinstance(collector, MetricWrapperBase):
            yield next(iter(collector.describe())).name, list(collector._labelnames)


@pytest.fixture
def ledger_metrics(tmp_path: Path) -> LedgerMetrics:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    ledger.upgrade()
    return LedgerMetrics(Settings(state_dir=tmp_path), ledger, spool)


def fields(model: type[BaseModel], section: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from fields(inner, f"{section}{name}.")
        else:
            yield section + name, field


def default_of(name: str, field: FieldInfo) -> object:
    if name in INSTALLATION:
        return "..."
    return "required" if field.is_required() else json.loads(json.dumps(field.default, default=str))


def test_metrics_have_the_promised_names_and_labels(ledger_metrics: LedgerMetrics) -> None:
    of_the_ledger = {
        family.name: list(getattr(family, "_labelnames", ())) for family in ledger_metrics.collect()
    }
    assert dict(counted_metrics()) | of_the_ledger == PROMISED["metrics"]


def test_reasons_have_the_promised_codes_and_statuses() -> None:
    codes = {str(reason): REJECTION_STATUSES.get(reason) for reason in Reason}
    assert codes == PROMISED["reasons and their DIMSE statuses"]


@pytest.mark.parametrize(
    ("model", "section"),
    [
        (Settings, ""),
        (DimseDestination, "destinations (DIMSE)."),
        (WebDestination, "destinations (DICOMweb)."),
        (WebhookDestination, "destinations (webhook)."),
        (Hl7Destination, "destinations (HL7)."),
        (FhirDestination, "destinations (FHIR)."),
        (EmailDestination, "destinations (e-mail)."),
    ],
)
def test_settings_have_the_promised_names_and_defaults(
    model: type[BaseModel], section: str
) -> None:
    defaults = {name: default_of(name, field) for name, field in fields(model, section)}
    promised = {
        name: default
        for name, default in PROMISED["settings and their defaults"].items()
        if name.startswith("destinations (") == bool(section) and name.startswith(section)
    }
    assert defaults == promised


def test_failures_have_the_promised_exit_statuses() -> None:
    statuses = {name: value for name, value in vars(errors).items() if name.startswith("EX_")}
    assert statuses == PROMISED["exit statuses"]


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """What version 1 of the API says of itself; nothing is called."""
    nothing = cast("Any", None)
    app = FastAPI()
    app.include_router(v1.router(nothing, nothing, nothing, nothing, nothing), prefix=v1.PREFIX)
    return app.openapi()


def test_version_1_of_the_api_has_the_promised_operations(described: dict[str, Any]) -> None:
    operations = {
        operation["operationId"]: {
            "method": method,
            "path": path,
            "query": [
                each["name"] for each in operation.get("parameters", []) if each["in"] == "query"
            ],
        }
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert operations == PROMISED["operations of version 1 of the API"]


def test_version_1_of_the_api_has_the_promised_fields(described: dict[str, Any]) -> None:
    fields_of = {
        name: sorted(schema["properties"])
        for name, schema in described["components"]["schemas"].items()
        if "properties" in schema
    }
    assert fields_of == PROMISED["fields of version 1 of the API"]
