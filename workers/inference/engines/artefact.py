"""An exported network beside the record of how it was made, in a folder of its own."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from service.storage.private_files import NotPrivateError, make_private_directory, require_private
from workers.inference.engines.machine import describe_machine
from workers.inference.pins import digest_of

TORCH: Final = "torch"
OPENVINO: Final = "openvino"
_NETWORK: Final = "network.blob"  # compiled by OpenVINO for this processor
_FORMAT: Final = "1"  # of what `export` makes; another one makes all of them anew
_RECORD: Final = "record.json"
_MOST_KEPT: Final = 8  # artefacts in a folder; the oldest go

Identity = Mapping[str, str]
Milliseconds = Mapping[str, Mapping[str, float]]  # an image, by engine and size of the batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was found out about the network of one bundle on one machine.

    Attributes:
        identity: what it holds for: bundle, versions and machine.
        engine: the one to use.
        reason: why, in words.
        shape: of one input, channels x rows x columns.
        outputs: the names of the outputs, in the order of the exported network's.
        numbers: how many the outputs for one radiograph are, all together.
        difference: the largest between the probabilities of the engines; None if never compared.
        milliseconds: of the engines, measured in turns.
        sha256: of the exported network; None if none can be used.
    """

    identity: Identity
    engine: str
    reason: str
    shape: tuple[int, ...] = ()
    outputs: tuple[str, ...] = ()
    numbers: int = 0
    difference: float | None = None
    milliseconds: Milliseconds = field(default_factory=dict)
    sha256: str | None = None

    @property
    def summary(self) -> str:
        """One line for people."""
        said = [f"{self.engine}: {self.reason}"]
        if self.milliseconds:
            times = (
                f"{engine} {' and '.join(f'{each:.1f} ms' for each in by_size.values())}"
                for engine, by_size in self.milliseconds.items()
            )
            said.append(f"a radiograph alone and in a batch takes {', '.join(times)}")
        if self.difference is not None:
            said.append(f"probabilities differ by up to {self.difference:.1g}")
        return "; ".join(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A record, and the folder of the exported network that it tells of."""

    record: Record
    folder: Path

    @property
    def network(self) -> Path:
        """The file of the exported network."""
        return self.folder / _NETWORK

    def distrust(self) -> None:
        """Keep the record without the network, which failed: torch is used from now on."""
        failed = replace(self.record, engine=TORCH, reason="the engine failed", sha256=None)
        with contextlib.suppress(OSError, NotPrivateError):
            keep(self.folder.parent, failed)


def identify(bundle: Path) -> Identity:
    """Return all that a record depends on: of the bundle its code, metadata and weights.

    Raises:
        BundleError: a file of the bundle cannot be read.
    """
    versions = {name: _version(name) for name in ("openvino", "torch", "monai")}
    digest = digest_of(bundle.resolve())
    return {"format": _FORMAT, "bundle": digest, **versions, **describe_machine()}


def find(engines: Path, identity: Identity) -> Artefact | None:
    """Find what was recorded; None if there is nothing, or nothing that can be trusted.

    Trusted is what is private to this account, has this very identity, and is a network with the
    digest that was recorded.
    """
    folder = _folder(engines, identity)
    try:
        for path in (engines, folder):
            require_private(path, "bundle.engines")
        record = _parse(json.loads((folder / _RECORD).read_text()))
        whole = record.sha256 is None or _digest(folder / _NETWORK) == record.sha256
    except (OSError, ValueError, TypeError, KeyError, NotPrivateError):
        return None
    return Artefact(record=record, folder=folder) if whole and record.identity == identity else None


def keep(engines: Path, record: Record, network: bytes | None = None) -> Artefact:
    """Keep a record, with the exported network if it can be used.

    Raises:
        OSError: it cannot be written.
        NotPrivateError: the folder is open to other accounts.
    """
    make_private_directory(engines)
    folder = _folder(engines, record.identity)
    new = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if network is not None:
        (new / _NETWORK).write_bytes(network)
        record = replace(record, sha256=hashlib.sha256(network).hexdigest())
    (new / _RECORD).write_text(json.dumps(asdict(record), indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    _remove_oldest(engines)
    return Artefact(record=record, folder=folder)


def _remove_oldest(engines: Path) -> None:
    folders = [each for each in engines.iterdir() if each.is_dir()]
    for folder in sorted(folders, key=_changed_at, reverse=True)[_MOST_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0


def _folder(engines: Path, identity: Identity) -> Path:
    written = json.dumps(dict(identity), sort_keys=True).encode()
    return engines / hashlib.sha256(written).hexdigest()[:32]


def _parse(found: Mapping[str, Any]) -> Record:
    """Read a record.

    Raises:
        TypeError: it has other fields.
    """
    tuples = {name: tuple(found[name]) for name in ("shape", "outputs")}
    return Record(**{**found, **tuples})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
