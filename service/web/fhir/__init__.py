"""Reports as FHIR R4 resources, to read and to search."""
