"""FHIR R4 (4.0.1): a report as a DiagnosticReport and its Observations."""
