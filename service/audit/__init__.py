"""The audit trail: append records, export them as DICOM Audit Messages over syslog."""
