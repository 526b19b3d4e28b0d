"""DICOM at the level of bytes and data sets: header readers, statuses, SOP classes, UIDs."""
