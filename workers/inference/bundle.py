"""Read a bundle's folder: metadata, weights, and the configuration that makes the rest.

torch and monai, which cost seconds and 300 MB, are imported by the functions that need them.
"""

import hashlib
import json
import sys
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from service.domain.reasons import Reason
from workers.inference.bundle_error import BundleError
from workers.inference.operating_points import (
    Population,
    population_faults,
    read_point,
    read_populations,
    unknown_choice,
)
from workers.inference.pins import (
    CONFIGURATION,
    METADATA,
    import_as_pinned,
    verified_pins,
)
from workers.prediction import Model, NotAnalysable

if TYPE_CHECKING:
    import torch
    from monai.bundle.config_parser import ConfigParser

__all__ = ["CONFIGURATION", "METADATA", "BundleError"]

SECTIONS: Final = ("preprocessing", "network_def", "inferer", "postprocessing")
_LONGEST: Final = 400  # characters; a network that does not fit names each of its weights
_REASONS: Final = {str(reason): reason for reason in Reason}


def read_metadata(bundle: Path) -> dict[str, Any]:
    """Read configs/metadata.json.

    Raises:
        BundleError: it cannot be read, or is not a JSON object.
    """
    path = bundle / METADATA
    try:
        metadata = json.loads(path.read_text())
    except OSError as error:
        raise BundleError(
            f"{bundle} is not a bundle: {METADATA} cannot be read "
            f"({error.strerror}); set bundle.path to a MONAI bundle's folder"
        ) from error
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON: reinstall the bundle") from error
    if not isinstance(metadata, dict):
        raise BundleError(f"{path} does not hold a JSON object: reinstall the bundle")
    return metadata


def describe(metadata: dict[str, Any], operating_point: str | None) -> Model:
    """Build the model that the metadata describe, at an operating point or at the default one.

    Raises:
        BundleError: the metadata are incomplete or invalid, or have no such operating point.
    """
    try:
        name = operating_point or metadata["default_operating_point"]
        points = metadata["operating_points"]
        if name not in points:
            raise BundleError(
                f"the bundle has no operating point {name!r}: choose one of {', '.join(points)}"
            )
        return Model(
            name=str(metadata["name"]),
            version=str(metadata["version"]),
            weights_sha256=str(metadata["weights"]["sha256"]),
            calibrated=metadata["calibration"]["method"] != "none",
            operating_point=read_point(points, name),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{METADATA} is incomplete or invalid ({error!r}): reinstall the bundle"
        ) from error


def describe_populations(
    metadata: dict[str, Any], model: Model, reported: Collection[str]
) -> dict[str | None, Population]:
    """Build the populations that the metadata describe; see `read_populations`.

    Raises:
        BundleError: they are incomplete or invalid, or lack one that the settings name.
    """
    if fault := next(population_faults(metadata), None):
        raise BundleError(f"{METADATA} {fault}")
    if fault := unknown_choice(metadata, reported):
        raise BundleError(f"the bundle {fault}")
    return read_populations(metadata, model, reported)


def verified_weights(bundle: Path, metadata: dict[str, Any]) -> bytes:
    """Read the weights and verify their SHA-256 against the metadata.

    Raises:
        BundleError: they cannot be read, or have another digest.
    """
    path = bundle / str(metadata["weights"]["path"])
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read ({error.strerror}): reinstall the bundle with its weights"
        ) from error
    if hashlib.sha256(weights).hexdigest() != metadata["weights"]["sha256"]:
        raise BundleError(f"{path} has another SHA-256 than {METADATA} names: reinstall the bundle")
    return weights


def fit(network: "torch.nn.Module", weights: bytes) -> None:
    """Load the weights into the network; an error of torch says what does not fit."""
    import torch  # noqa: PLC0415 -- see above

    network.load_state_dict(torch.load(BytesIO(weights), map_location="cpu", weights_only=True))


def find_device(name: str) -> "torch.device":
    """Return the device of that name, or for "auto" CUDA where there is one.

    Raises:
        BundleError: there is no such device.
    """
    import torch  # noqa: PLC0415 -- see above

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BundleError(
            f"there is no device {name!r}: set bundle.device to auto, cpu or cuda"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BundleError("no CUDA device is available: set bundle.device to auto or cpu")
    return device


def parse_configuration(bundle: Path, metadata: dict[str, Any]) -> "ConfigParser":
    """Parse configs/inference.yaml, with the bundle's scripts importable and `bundle` as its root.

    A configuration is code: it may raise anything. Of a pinned bundle only what is pinned is
    executed.

    Raises:
        BundleError: a file of it is another one than was pinned.
    """
    from monai.bundle.config_parser import ConfigParser  # noqa: PLC0415 -- see above

    pins = verified_pins(bundle)
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        if not str(getattr(sys.modules[name], "__file__", "")).startswith(f"{bundle}/"):
            del sys.modules[name]  # another bundle's; objects made from it keep working
    if str(bundle) in sys.path:
        sys.path.remove(str(bundle))
    sys.path.insert(1, str(bundle))
    if pins is not None:
        import_as_pinned(bundle, pins)
    config = ConfigParser()
    config.read_config(str(bundle / CONFIGURATION))
    config.read_meta(metadata)
    config["bundle_root"] = str(bundle)
    config.parse()
    return config


def code_behind(error: BaseException) -> str | None:
    """Return the code of the refusal that led to an error, known or not; None if there is none."""
    codes = (getattr(each, "code", None) for each in _chain(error))
    return next((code for code in codes if isinstance(code, str)), None)


def refusal_behind(error: BaseException) -> NotAnalysable | None:
    """Return the refusal with a known reason that led to an error, if one did.

    MONAI wraps what a transform raises, so the refusal may be several causes away.
    """
    for each in _chain(error):
        code = getattr(each, "code", None)
        if isinstance(code, str) and code in _REASONS:
            return NotAnalysable(_REASONS[code], str(getattr(each, "detail", "")))
    return None


def root(error: BaseException) -> BaseException:
    """Return the first exception of a chain of wrapped ones.

    The chain ends early at a coded refusal: its causes are a decoder's own errors.
    """
    for each in _chain(error):
        if each.__cause__ is None or hasattr(each, "code"):
            return each
    return error


def in_one_line(error: BaseException) -> str:
    """Describe the first exception of a chain of wrapped ones in one line."""
    cause = root(error)
    words = " ".join(f"{type(cause).__name__}: {cause}".split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__
