"""DICOM at the byte and data set level: reading headers, statuses, SOP classes, UIDs."""
