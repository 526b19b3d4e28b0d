"""Messages about a report for other programs: CloudEvents, HL7 v2, FHIR R4, e-mail; no I/O."""
