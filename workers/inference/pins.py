"""Hold the code of a bundle to its digests, as its weights are held to theirs.

`pins.sha256` in a bundle's folder lists what may be executed of it, in the format of sha256sum(1).
A bundle without that file is used as it is. The setting `bundle.digest` holds the whole of it to a
digest that is kept apart from the bundle. Nothing here imports torch, so that a changed bundle is
refused before it costs seconds.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Final

from service.domain.check_result import CheckResult
from service.settings import SHIPPED_BUNDLE, BundleSettings
from workers.inference.bundle_error import BundleError

PINS: Final = "pins.sha256"
CONFIGURATION: Final = "configs/inference.yaml"
METADATA: Final = "configs/metadata.json"
_EXECUTED: Final = (".py", ".so", ".pyc")
_ERROR: Final = 2
_MOST_NAMED: Final = 3

Digests = Mapping[str, str]

_PINNED: Final[dict[Path, Digests]] = {}  # what this process imports from, by folder


def digests_of(bundle: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a bundle that may be executed, by its relative path.

    Bytecode in __pycache__ is not among them: of a pinned bundle it is not read.

    Raises:
        BundleError: a file cannot be read.
    """
    return {name: _digest(bundle / name) for name in sorted(_executed(bundle))}


def digest_of(bundle: Path) -> str:
    """Return one SHA-256 for all that decides what a bundle says: code, metadata, weights.

    The metadata have the digest of the weights.

    Raises:
        BundleError: a file cannot be read.
    """
    listed = digests_of(bundle) | {METADATA: _digest(bundle / METADATA)}
    return hashlib.sha256(_written(listed).encode()).hexdigest()


def write_pins(bundle: Path) -> str:
    """Write the bundle's pins anew, and return the digest for `bundle.digest`.

    Raises:
        BundleError: a file cannot be read.
        OSError: the pins cannot be written.
    """
    (bundle / PINS).write_text(_written(digests_of(bundle)))
    return digest_of(bundle)


def verify(settings: BundleSettings) -> None:
    """Hold a bundle to its own pins and to the digest of the settings.

    Raises:
        BundleError: a file is another one than was pinned; the message names it.
    """
    bundle = settings.path.resolve()
    verified_pins(bundle)
    if settings.digest is not None and digest_of(bundle) != settings.digest:
        raise BundleError(
            f"{bundle} has another digest than bundle.digest names: restore the bundle, or set "
            f"bundle.digest to {digest_of(bundle)} if you trust it"
        )


def verified_pins(bundle: Path) -> Digests | None:
    """Return the pins of a bundle, which its files fulfil; None where it has none.

    Raises:
        BundleError: a file differs, is missing, or is not pinned.
    """
    pins = _read_pins(bundle)
    if pins is None:
        return None
    present = digests_of(bundle)
    different = sorted(name for name in {*pins, *present} if pins.get(name) != present.get(name))
    if different:
        more = f" and {len(different) - _MOST_NAMED} more" if len(different) > _MOST_NAMED else ""
        raise BundleError(
            f"{bundle}: {', '.join(different[:_MOST_NAMED])}{more} differ from {PINS}: reinstall "
            "the bundle, or run `lobar bundle pin` if the change is yours"
        )
    return pins


def check_results(settings: BundleSettings) -> list[CheckResult]:
    """Say for `lobar check` whether the code of a bundle is pinned, and its digest.

    Nothing of a folder that is no bundle: other checks say what it lacks.
    """
    bundle = settings.path.resolve()
    if not all((bundle / name).is_file() for name in (CONFIGURATION, METADATA)):
        return []
    try:
        verify(settings)
        digest = digest_of(bundle)
    except BundleError as error:
        return [CheckResult(subject="bundle's code", message=str(error), severity=_ERROR)]
    how = f"as {PINS} says" if (bundle / PINS).exists() else f"without {PINS}: `lobar bundle pin`"
    if settings.digest is None:
        how += f"; bundle.digest may hold it to {digest}"
    return [CheckResult(subject="bundle's code", message=how)]


def import_as_pinned(bundle: Path, pins: Digests) -> None:
    """Let Python import from this bundle only what its pins say, at whatever time it does."""
    _PINNED[bundle] = pins
    if _pinned_finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _pinned_finder)
    for folder in list(sys.path_importer_cache):
        if folder == str(bundle) or folder.startswith(f"{bundle}/"):
            del sys.path_importer_cache[folder]


def _pinned_finder(folder: str) -> FileFinder:
    """Return the finder for a folder of a pinned bundle; a hook of sys.path_hooks."""
    if _bundle_of(Path(folder)) is None:
        raise ImportError(folder)  # another hook's
    return FileFinder(folder, (_PinnedLoader, [".py"]))


def _bundle_of(path: Path) -> Path | None:
    return next((each for each in (path, *path.parents) if each in _PINNED), None)


class _PinnedLoader(SourceFileLoader):
    """Loads a module from its source, which it holds to its digest; bytecode is not read."""

    def get_code(self, fullname: str) -> CodeType:
        source, path = self.get_data(self.path), Path(self.path)
        bundle = _bundle_of(path)
        pinned = _PINNED[bundle].get(str(path.relative_to(bundle))) if bundle else None
        if hashlib.sha256(source).hexdigest() != pinned:
            raise ImportError(f"{self.path} differs from {PINS}", name=fullname, path=self.path)
        return self.source_to_code(source, self.path)


def _executed(bundle: Path) -> Iterator[str]:
    yield CONFIGURATION
    for folder, folders, files in os.walk(bundle, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__" and name[0] != "."]
        for name in files:
            if name.endswith(_EXECUTED):
                yield str((Path(folder) / name).relative_to(bundle))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read ({error.strerror}): set bundle.path to a MONAI bundle's folder"
        ) from error


def _written(digests: Digests) -> str:
    """Write digests as sha256sum(1) does."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))


def _read_pins(bundle: Path) -> dict[str, str] | None:
    try:
        lines = (bundle / PINS).read_text().splitlines()
    except FileNotFoundError:
        if bundle == SHIPPED_BUNDLE:
            raise BundleError(f"{bundle} lacks {PINS}: reinstall Lobar") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{bundle / PINS} cannot be read: reinstall the bundle") from error
    split = [line.partition("  ") for line in lines]
    pins = {name: digest for digest, _, name in split}
    if "" in pins or len(pins) != len(lines):
        raise BundleError(f"{bundle / PINS} is not what sha256sum writes: reinstall the bundle")
    return pins
