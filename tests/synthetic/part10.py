"""The bytes of a Part 10 file."""

import io

from pydicom.dataset import Dataset


def part10(dataset: Dataset) -> bytes:
    """Encode a data set that has file meta information as a file (PS3.10 7)."""
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
