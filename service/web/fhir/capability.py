"""What this FHIR server can do: its CapabilityStatement."""

from typing import Any, Final

from service.dicom.implementation import VERSION
from service.web.fhir.outcome import FHIR_JSON
from service.web.fhir.query import INCLUDE_RESULTS, PARAMETERS

FHIR_VERSION: Final = "4.0.1"
_DATE: Final = "2026-11-30"  # of this statement


def capability_statement(base: str) -> dict[str, Any]:
    """Return the CapabilityStatement of the server at an address."""
    searches = [{"name": name, "type": "token"} for name in sorted(_names())]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _DATE,
        "kind": "instance",
        "software": {"name": "Lobar", "version": VERSION},
        "implementation": {"description": "Reports of Lobar, to read", "url": base},
        "fhirVersion": FHIR_VERSION,
        "format": [FHIR_JSON],
        "rest": [
            {
                "mode": "server",
                "security": {"description": "A session, or a token with the scope patient."},
                "resource": [
                    {
                        "type": "DiagnosticReport",
                        "interaction": [{"code": "read"}, {"code": "search-type"}],
                        "searchInclude": [INCLUDE_RESULTS],
                        "searchParam": searches,
                    },
                    {"type": "Observation", "interaction": [{"code": "read"}]},
                ],
            }
        ],
    }


def _names() -> set[str]:
    """Return the search parameters without their modifiers."""
    return {each.partition(":")[0] for each in PARAMETERS}
