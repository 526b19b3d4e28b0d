"""The bundle as a function: a path in, a prediction out."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.bundle.config_parser import ConfigParser
from numpy.typing import NDArray

from service.errors import EX_CONFIG, ExplainedError
from service.reasons import Reason
from service.settings import Bundle
from workers.prediction import Model, NotAnalysable, OperatingPoint, Prediction

PICTURE_SIDE: Final = 1024
_REASONS: Final = {str(reason): reason for reason in Reason}


class BundleError(ExplainedError):
    """The bundle cannot be used; the message says in one line what is wrong and what to do."""

    exit_status = EX_CONFIG


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One radiograph as the network wants it, and as a person does."""

    tensor: torch.Tensor  # CxHxW float32 on the CPU
    picture: NDArray[np.float32]  # rows x columns, 0 black to 1 white, at most PICTURE_SIDE a side


class Predictor:
    """One bundle, loaded once: its own preprocessing, network and postprocessing.

    `prepare` may be called from several threads at once, `predict` from one at a time. Everything
    is read from the bundle's configs/metadata.json and configs/inference.yaml, so another bundle
    with the same keys can take its place. A bundle's configuration is code: use only one that you
    trust.
    """

    model: Model

    def __init__(
        self, bundle: Path, *, device: str = "auto", operating_point: str | None = None
    ) -> None:
        """Load `bundle` on `device` ("auto": CUDA where there is one), or raise BundleError."""
        bundle = bundle.resolve()
        metadata = _read_metadata(bundle)
        self.model = _describe(metadata, operating_point)
        weights = _verified_weights(bundle, metadata)
        self._device = _device(device)
        try:
            config = _parse(bundle, metadata)
            self._preprocessing = config.get_parsed_content("preprocessing")
            self._inferer = config.get_parsed_content("inferer")
            self._postprocessing = config.get_parsed_content("postprocessing")
            network = config.get_parsed_content("network_def")
            network.load_state_dict(
                torch.load(BytesIO(weights), map_location="cpu", weights_only=True)
            )
            self._network = network.to(self._device).eval()
        except Exception as error:  # a bundle's configuration is code: it may raise anything
            raise BundleError(
                f"{bundle}: configs/inference.yaml cannot be used ({_in_one_line(error)}); "
                "reinstall the bundle or mend its configuration"
            ) from error

    @property
    def device(self) -> str:
        """Where the network runs: cpu, cuda or cuda:N."""
        return str(self._device)

    def prepare(self, path: Path) -> torch.Tensor:
        """Give the network's input for one radiograph, CxHxW float32 on the CPU.

        Raises NotAnalysable for a radiograph that the bundle refuses, OSError for a path that
        cannot be read.
        """
        return self.read(path).tensor

    def read(self, path: Path) -> Prepared:
        """Give one radiograph for the network and for a person, decoded once.

        The bundle's first transform opens the radiograph; the rest is for the network. Raises as
        `prepare` does.
        """
        try:
            opened = self._preprocessing({"image": str(path)}, end=1)
            picture = _shrunk(torch.as_tensor(opened["image"], dtype=torch.float32))
            prepared = self._preprocessing(opened, start=1)["image"]
        except Exception as error:
            cause = _root(error)
            if reason := _REASONS.get(getattr(cause, "code", "")):
                raise NotAnalysable(reason, getattr(cause, "detail", "")) from error
            if isinstance(cause, OSError | MemoryError):
                raise cause from error
            raise
        tensor = torch.as_tensor(prepared, dtype=torch.float32).contiguous()
        return Prepared(tensor=tensor, picture=picture)

    def predict(self, prepared: Sequence[torch.Tensor]) -> list[Prediction]:
        """Give one prediction for each prepared radiograph, in their order."""
        if not prepared:
            return []
        return [self._read(logit) for logit in self._forward(torch.stack(list(prepared)))]

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give the logits Bx1 on the CPU; a batch that the GPU cannot hold is halved."""
        try:
            with torch.inference_mode():
                logits: torch.Tensor = self._inferer(images.to(self._device), self._network)
                return logits.float().cpu()
        except torch.OutOfMemoryError:
            if len(images) == 1:
                raise
        torch.cuda.empty_cache()
        middle = len(images) // 2
        return torch.cat([self._forward(images[:middle]), self._forward(images[middle:])])

    def _read(self, logit: torch.Tensor) -> Prediction:
        probability = float(self._postprocessing({"pred": logit})["pred"])
        return Prediction(
            finding=self.model.operating_point.read(probability),
            probability=probability,
            model=self.model,
        )


def load_predictor(settings: Bundle) -> Predictor:
    """Load the bundle that the settings name.

    Raises:
        BundleError: it cannot be used.
    """
    return Predictor(
        settings.path, device=settings.device, operating_point=settings.operating_point
    )


def _shrunk(image: torch.Tensor) -> NDArray[np.float32]:
    """Give 1xHxW as HxW, averaged down to what an overlay can show: a batch holds many of them."""
    scale = max(image.shape[-2:]) / PICTURE_SIDE
    if scale > 1:
        rows, columns = (max(1, round(side / scale)) for side in image.shape[-2:])
        image = torch.nn.functional.interpolate(image[None], (rows, columns), mode="area")[0]
    return np.asarray(image[0].numpy(), dtype=np.float32)


def _read_metadata(bundle: Path) -> dict[str, Any]:
    path = bundle / "configs" / "metadata.json"
    try:
        metadata = json.loads(path.read_text())
    except OSError as error:
        raise BundleError(
            f"{bundle} is not a bundle: configs/metadata.json cannot be read "
            f"({error.strerror}); set bundle.path to a MONAI bundle's folder"
        ) from error
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON: reinstall the bundle") from error
    if not isinstance(metadata, dict):
        raise BundleError(f"{path} does not hold a JSON object: reinstall the bundle")
    return metadata


def _describe(metadata: dict[str, Any], operating_point: str | None) -> Model:
    try:
        name = operating_point or metadata["default_operating_point"]
        points = metadata["operating_points"]
        if name not in points:
            raise BundleError(
                f"the bundle has no operating point {name!r}: choose one of {', '.join(points)}"
            )
        low, high = points[name]["indeterminate"]
        return Model(
            name=str(metadata["name"]),
            version=str(metadata["version"]),
            weights_sha256=str(metadata["weights"]["sha256"]),
            calibrated=metadata["calibration"]["method"] != "none",
            operating_point=OperatingPoint(
                name=name,
                threshold=float(points[name]["threshold"]),
                indeterminate_low=float(low),
                indeterminate_high=float(high),
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"configs/metadata.json lacks something or holds nonsense ({error!r}): "
            "reinstall the bundle"
        ) from error


def _verified_weights(bundle: Path, metadata: dict[str, Any]) -> bytes:
    """Give the weights' bytes once they are known to be those that the metadata names."""
    path = bundle / str(metadata["weights"]["path"])
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read ({error.strerror}): reinstall the bundle with its weights"
        ) from error
    if hashlib.sha256(weights).hexdigest() != metadata["weights"]["sha256"]:
        raise BundleError(
            f"{path} has another SHA-256 than configs/metadata.json names: reinstall the bundle"
        )
    return weights


def _device(name: str) -> torch.device:
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


def _parse(bundle: Path, metadata: dict[str, Any]) -> ConfigParser:
    """Give the parsed configs/inference.yaml, its scripts importable and rooted in `bundle`."""
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        if not str(getattr(sys.modules[name], "__file__", "")).startswith(f"{bundle}/"):
            del sys.modules[name]  # another bundle's; what it made keeps working
    if str(bundle) in sys.path:
        sys.path.remove(str(bundle))
    sys.path.insert(1, str(bundle))
    config = ConfigParser()
    config.read_config(str(bundle / "configs" / "inference.yaml"))
    config.read_meta(metadata)
    config["bundle_root"] = str(bundle)
    config.parse()
    return config


def _in_one_line(error: BaseException) -> str:
    cause = _root(error)
    return " ".join(f"{type(cause).__name__}: {cause}".split())


def _root(error: BaseException) -> BaseException:
    """Give what a chain of wrapped exceptions began with; MONAI wraps whatever a transform raises.

    The chain ends early at a coded refusal: what lies behind that is a decoder's own trouble.
    """
    while error.__cause__ is not None and not hasattr(error, "code"):
        error = error.__cause__
    return error
