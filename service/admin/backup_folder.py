"""A backup on disk: a manifest, the rows of the ledger, the list of files, and the files.

The manifest is written last and names the others with their SHA-256: a folder without one is no
backup, and an earlier backup in the folder stays valid until the new manifest replaces it.
"""

import contextlib
import gzip
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ExplainedError
from service.storage.directories import fsync_directory

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SPOOL: Final = "spool"
_PATH: Final = r"^(inbox|outbox)/[0-9a-f]{2}/[0-9a-f]{32}(\.[a-z][a-z-]{0,31}\.[0-9a-f]{16})?\.dcm$"
_SHA256: Final = r"^[0-9a-f]{64}$"
_PIECE_BYTES: Final = 1 << 20


class BackupError(ExplainedError):
    """A backup could not be made, or cannot be used; the message says why."""

    exit_status: ClassVar[int] = 1


class Stored(BaseModel):
    """Values of a file of the backup, checked as they are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(Stored):
    """A file of the spool."""

    path: str = Field(pattern=_PATH)
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=_SHA256)
    modified_ns: int


class Listing(Stored):
    """One of the two files with a line for each row or file."""

    name: str = Field(pattern=r"^(ledger|files)-[0-9a-f]{32}\.jsonl\.gz$")
    sha256: str = Field(pattern=_SHA256)
    lines: int = Field(ge=0)


class Manifest(Stored):
    """What a backup consists of."""

    format: int = Field(ge=FORMAT, le=FORMAT)
    lobar: str
    revision: str = Field(pattern=r"^[0-9a-z_]{1,32}$")
    made_at: str
    ledger: Listing
    files: Listing
    bytes: int = Field(ge=0)
    missing: int = Field(ge=0)  # files that the ledger names and the spool had lost before


def read_manifest(folder: Path) -> Manifest:
    """Read what a backup consists of.

    Raises:
        BackupError: There is none, or it is damaged.
    """
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BackupError(f"{folder} is no backup: it has no {MANIFEST}.") from None
    except ValidationError:
        raise BackupError(f"{folder / MANIFEST} is damaged, or of a newer Lobar.") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, durably, in the place of an earlier one."""
    aside = folder / f"{MANIFEST}.new"
    with _create(aside) as stream:
        stream.write(manifest.model_dump_json(indent=1).encode())
        _make_durable(stream)
    aside.replace(folder / MANIFEST)
    fsync_directory(folder)


def write_lines(folder: Path, name: str, lines: Iterable[Any]) -> Listing:
    """Write one JSON value a line, compressed and durable."""
    path, count = folder / name, 0
    with _create(path) as stream:
        # without a time, so that the same lines give the same bytes
        with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0, compresslevel=5) as packed:
            for each in lines:
                packed.write(json.dumps(each, separators=(",", ":")).encode() + b"\n")
                count += 1
        _make_durable(stream)
    return Listing(name=name, sha256=sha256_of(path), lines=count)


def read_lines(folder: Path, listing: Listing) -> Iterator[Any]:
    """Read the values of a listing whose digest was compared before.

    Raises:
        BackupError: It is not what was written.
    """
    count = 0
    try:
        with gzip.open(folder / listing.name, "rb") as lines:
            for line in lines:
                yield json.loads(line)
                count += 1
    except (OSError, EOFError, ValueError):
        raise BackupError(f"{folder / listing.name} is damaged.") from None
    if count != listing.lines:
        raise BackupError(f"{folder / listing.name} is not whole.")


def read_entries(folder: Path, manifest: Manifest) -> Iterator[Entry]:
    """Read the list of files.

    Raises:
        BackupError: It is damaged.
    """
    for each in read_lines(folder, manifest.files):
        try:
            yield Entry.model_validate(each)
        except ValidationError:
            raise BackupError(f"{folder / manifest.files.name} is damaged.") from None


def copy_checked(source: Path, target: Path, entry: Entry) -> None:
    """Copy a file of the backup, durably but for its directory, and compare its digest.

    Raises:
        BackupError: It is missing or damaged.
    """
    try:
        with source.open("rb") as given, _create(target) as stream:
            digest = hashlib.sha256()
            while piece := given.read(_PIECE_BYTES):
                digest.update(piece)
                stream.write(piece)
            _make_durable(stream)
    except FileNotFoundError:
        raise BackupError(f"{source} is missing.") from None
    if digest.hexdigest() != entry.sha256:
        raise BackupError(f"{source} is damaged.")


def take(source: Path, target: Path) -> None:
    """Put a file into the backup: a second name for it where the file system has one, or a copy.

    A file of the spool is never written to again, so a second name is as good as a copy, except
    against the loss of the disk.

    Raises:
        FileNotFoundError: The file is not there.
    """
    aside = target.with_name(f"{target.name}.new")
    aside.unlink(missing_ok=True)
    try:
        os.link(source, aside)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        with source.open("rb") as given, _create(aside) as stream:
            while piece := given.read(_PIECE_BYTES):
                stream.write(piece)
            _make_durable(stream)
    aside.replace(target)
    with contextlib.suppress(FileNotFoundError):  # two names of one file are left as they are
        aside.unlink()


def sha256_of(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_path(text: str) -> bool:
    """Return whether a name below `spool` is one that a backup has."""
    return bool(re.fullmatch(_PATH, text))


@contextlib.contextmanager
def _create(path: Path) -> Iterator[Any]:
    """Create a file that only this account reads, in place of any earlier one."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        yield stream


def _make_durable(stream: Any) -> None:  # noqa: ANN401 -- an open file
    stream.flush()
    os.fsync(stream.fileno())
