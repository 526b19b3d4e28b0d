"""SHA-256 of files."""

import hashlib
from pathlib import Path


def sha256_of(path: str | Path) -> str:
    """Return a file's SHA-256 as 64 lower-case hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
