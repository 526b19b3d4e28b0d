"""A report as a transaction: a Bundle that a FHIR server takes whole or not at all.

Each entry is a conditional create: a server that has the resource under its identifier keeps that
one, so a repeat has no second effect (FHIR R4 3.1.0.8.1).
"""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from service.messages.facts import ReportFacts
from service.messages.fhir.resources import build_diagnostic_report, build_observations
from service.messages.fhir.terms import Resource, Systems
from service.messages.templating import (
    MessageTemplateError,
    as_json,
    load_template,
    render,
    write_json,
)

MEDIA_TYPE: Final = "application/fhir+json"


class TransactionTemplate:
    """Makes the transactions about reports: the usual ones, or by a template."""

    def __init__(self, template_file: Path | None, systems: Systems) -> None:
        """Load the template, if there is one.

        Raises:
            MessageTemplateError: it cannot be read, or is no template.
        """
        self._systems = systems
        self._template = None if template_file is None else load_template(template_file, write_json)

    def of(self, report: ReportFacts) -> Resource:
        """Return the transaction about a report.

        Raises:
            MessageTemplateError: the template makes no transaction.
        """
        if self._template is None:
            return build_transaction(report, self._systems)
        made = as_json(render(self._template, report, {}))
        if not _is_transaction(made):
            raise MessageTemplateError("what the template makes is no transaction of FHIR")
        return dict(made)


def build_transaction(report: ReportFacts, systems: Systems) -> Resource:
    """Build the transaction about a report."""
    entries = [_entry(each.resource) for each in build_observations(report, systems)]
    addresses = [str(each["fullUrl"]) for each in entries]
    entries.append(_entry(build_diagnostic_report(report, systems, addresses)))
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def with_references(value: Any, known: Mapping[str, str]) -> Any:  # noqa: ANN401 -- JSON
    """Return a resource with each reference that is known replaced, for one sent by itself."""
    if isinstance(value, list):
        return [with_references(each, known) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: known.get(inner, inner)
        if name == "reference" and isinstance(inner, str)
        else with_references(inner, known)
        for name, inner in value.items()
    }


def encode(resource: Resource) -> bytes:
    """Return a resource as JSON."""
    return json.dumps(resource, ensure_ascii=False, separators=(",", ":")).encode()


def _is_transaction(made: Any) -> bool:  # noqa: ANN401 -- JSON
    """Return whether this is a transaction whose entries are resources to be created."""
    if not isinstance(made, dict) or made.get("resourceType") != "Bundle":
        return False
    entries = made.get("entry")
    return (
        made.get("type") == "transaction"
        and isinstance(entries, list)
        and all(
            isinstance(each, dict)
            and isinstance(each.get("resource"), dict)
            and isinstance(each.get("request"), dict)
            and isinstance(each["request"].get("url"), str)
            for each in entries
        )
    )


def _entry(resource: Resource) -> Resource:
    (identifier,) = resource["identifier"]
    token = f"{identifier['system']}|{identifier['value']}"
    kind = str(resource["resourceType"])
    return {
        "fullUrl": uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}|{token}").urn,
        "resource": resource,
        "request": {
            "method": "POST",
            "url": kind,
            "ifNoneExist": f"identifier={quote(token, safe=':.')}",
        },
    }
