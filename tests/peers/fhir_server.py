"""A stand-in for a FHIR R4 server: it validates, and knows conditional creates in transactions.

A real one, such as HAPI's, cannot be had from the registries that tests use. Validation is
fhir.resources' (R4B, whose resources used here are those of R4).
"""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.observation import Observation
from pydantic import ValidationError

from peers.web_service import Request, Response

FHIR_JSON = {"Content-Type": "application/fhir+json"}
CREATED: dict[str, Any] = {"DiagnosticReport": DiagnosticReport, "Observation": Observation}
CAPABILITY = {
    "resourceType": "CapabilityStatement",
    "fhirVersion": "4.0.1",
    "rest": [{"mode": "server", "interaction": [{"code": "transaction"}]}],
}


@dataclass
class FhirStore:
    """Resources by identifier, as a server keeps them."""

    capability: dict[str, Any] = field(default_factory=lambda: dict(CAPABILITY))
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    transactions: int = 0

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the resources of a kind."""
        return [each for each in self.resources.values() if each["resourceType"] == kind]

    def answer(self, request: Request) -> Response:
        """Answer a request as a server would."""
        if request.method == "GET" and request.path.endswith("/metadata"):
            return Response(200, json.dumps(self.capability).encode(), FHIR_JSON)
        assert request.headers["content-type"] == "application/fhir+json"
        kind = request.path.rpartition("/")[2]
        if kind in CREATED:
            return self._created(kind, request)
        try:
            bundle = Bundle.model_validate_json(request.body)
        except ValidationError:
            return Response(422, b'{"resourceType": "OperationOutcome"}', FHIR_JSON)
        assert bundle.type == "transaction"
        self.transactions += 1
        entries = [self._create(each) for each in json.loads(request.body)["entry"]]
        made = {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}
        return Response(200, json.dumps(made).encode(), FHIR_JSON)

    def _created(self, kind: str, request: Request) -> Response:
        """Create one resource, and say where it is."""
        resource = json.loads(request.body)
        try:
            CREATED[kind].model_validate(resource)
        except ValidationError:
            return Response(422, b'{"resourceType": "OperationOutcome"}', FHIR_JSON)
        condition = {"ifNoneExist": request.headers["if-none-exist"]}
        made = self._create({"resource": resource, "request": condition, "fullUrl": ""})
        number = list(self.resources).index(self._key(resource))
        where = f"http://elsewhere.example.org/fhir/{kind}/{number}/_history/1"
        status = int(made["response"]["status"][:3])
        return Response(status, headers={"Location": where})

    @staticmethod
    def _key(resource: dict[str, Any]) -> str:
        (identifier,) = resource["identifier"]
        return f"{resource['resourceType']}?{identifier['system']}|{identifier['value']}"

    def _create(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Create a resource, unless there is one with the identifier (ifNoneExist)."""
        name, _, token = unquote(entry["request"]["ifNoneExist"]).partition("=")
        assert name == "identifier"
        resource = entry["resource"]
        held = {f"{each['system']}|{each['value']}" for each in resource["identifier"]}
        assert token in held
        key = f"{resource['resourceType']}?{token}"
        is_new = key not in self.resources
        self.resources.setdefault(key, {**resource, "fullUrl": entry["fullUrl"]})
        return {"response": {"status": "201 Created" if is_new else "200 OK"}}
