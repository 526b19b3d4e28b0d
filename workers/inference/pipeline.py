"""A bundle's four parts in order: from a path to a probability or a refusal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.bundle.config_parser import ConfigParser
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from service.domain.evidence import DECIMALS, LONGEST_SIDE, AttentionMap
from service.domain.reasons import Reason
from workers.inference.bundle import (
    BundleError,
    fit,
    parse_configuration,
    read_metadata,
    refusal_behind,
    root,
)
from workers.inference.model_io import ModelInput, ModelOutput, Outputs, Pixels, stacked
from workers.prediction import NotAnalysable, Region
from workers.tones import Tones

PICTURE_SIDE: Final = 1024
_MAP_AXES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a bundle has before and after its network; from several threads at once."""

    preprocessing: Callable[..., dict[str, Any]]
    postprocessing: Callable[[dict[str, Any]], Mapping[str, Any]]

    def read(self, path: Path) -> ModelInput:
        """Read one radiograph for the network.

        Any other error of a transform passes through.

        Raises:
            NotAnalysable: the bundle refuses the radiograph.
            OSError: the file cannot be read.
        """
        return read_radiograph(self.preprocessing, path)

    def read_with_picture(self, path: Path) -> ModelInput:
        """Read one radiograph for the network, and for people where the bundle can do both.

        It raises what `read` does.
        """
        return read_radiograph(self.preprocessing, path, with_picture=True)

    def picture(self, path: Path) -> NDArray[np.float32]:
        """Read one radiograph for people; see `read_picture`."""
        return read_picture(self.preprocessing, path)

    def conclude(self, outputs: Outputs, age: float | None) -> ModelOutput | NotAnalysable:
        """Return what postprocessing makes of one radiograph's outputs, or its refusal."""
        tensors = {key: torch.from_numpy(np.array(each)) for key, each in outputs.items()}
        try:
            with torch.inference_mode():
                found = self.postprocessing({**tensors, "age_years": age})
        except Exception as error:
            if refusal := refusal_behind(error):
                return refusal  # of this radiograph alone: the others of the batch go on
            raise
        population = found.get("population")
        return ModelOutput(
            probability=float(found["pred"]),
            region=_region(found.get("region")),
            other=_number(found.get("other")),
            population=population if isinstance(population, str) else None,
            attention=_attention(found.get("attention")),
        )

    def conclude_all(
        self, outputs: Outputs, ages: Sequence[float | None]
    ) -> list[ModelOutput | NotAnalysable]:
        """Conclude each radiograph of a batch, in their order."""
        return [
            self.conclude({key: output[place] for key, output in outputs.items()}, age)
            for place, age in zip(range(len(outputs["pred"])), ages, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(Parts):
    """Preprocessing, network, inferer and postprocessing of one bundle, ready to run.

    `read` and `picture` may be called from several threads at once, `answer` from one at a time.
    """

    network: torch.nn.Module
    inferer: Callable[[torch.Tensor, torch.nn.Module], torch.Tensor | Mapping[str, torch.Tensor]]
    device: torch.device

    def answer(
        self, prepared: Sequence[Pixels], ages: Sequence[float | None] | None = None
    ) -> list[ModelOutput | NotAnalysable]:
        """Return an output or a refusal for each input CxHxW, in their order.

        Args:
            prepared: the inputs.
            ages: of the patients in years; None where one is not known, or none is.

        Raises:
            BundleError: the inferer's outputs break the contract of bundles.
        """
        if not prepared:
            return []
        outputs = self.forward(stacked(prepared))
        return self.conclude_all(outputs, [None] * len(prepared) if ages is None else ages)

    def forward(self, images: Pixels) -> Outputs:
        """Return the inferer's outputs for images BxCxHxW, float32 on the CPU.

        Raises:
            BundleError: the inferer's outputs break the contract of bundles.
        """
        outputs = self._forward(torch.from_numpy(images))
        return {key: output.numpy() for key, output in outputs.items()}

    def _forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network; halve a batch that exceeds the GPU."""
        try:
            with torch.inference_mode():
                given = self.inferer(images.to(self.device), self.network)
                return named(given, batch=len(images))
        except torch.OutOfMemoryError:
            if len(images) == 1:
                raise
        torch.cuda.empty_cache()
        middle = len(images) // 2
        first, second = self._forward(images[:middle]), self._forward(images[middle:])
        return {key: torch.cat([first[key], second[key]]) for key in first}


def read_radiograph(
    preprocessing: Callable[..., dict[str, Any]], path: Path, *, with_picture: bool = False
) -> ModelInput:
    """Read one radiograph with a bundle's preprocessing; see `Pipeline.read`."""
    asked = {"image": str(path), "image_tones": None}
    with _refusing(path):
        prepared = preprocessing(asked | ({"image_picture": PICTURE_SIDE} if with_picture else {}))
        image = torch.as_tensor(prepared["image"], dtype=torch.float32).contiguous()
        tensor = image.as_subclass(torch.Tensor).numpy()  # MONAI's tensors carry more
        tones = prepared.get("image_tones") or {}
        picture = prepared.get("image_picture")  # a number still if the bundle does not know it
        shown = _shrunk(torch.as_tensor(picture)) if isinstance(picture, torch.Tensor) else None
    return ModelInput(
        tensor=tensor, tones=Tones.read(tones, tones.get("entries", {})), picture=shown
    )


def read_picture(preprocessing: Callable[..., dict[str, Any]], path: Path) -> NDArray[np.float32]:
    """Read one radiograph for people, with the first transform of a bundle's preprocessing.

    Returns:
        The displayed brightness, rows x columns, 0 black to 1 white, at most PICTURE_SIDE a side.

    Raises:
        NotAnalysable: the bundle refuses the radiograph.
        OSError: the file cannot be read.
    """
    with _refusing(path):
        opened = preprocessing({"image": str(path), "image_for_people": PICTURE_SIDE}, end=1)
        return _shrunk(torch.as_tensor(opened["image"], dtype=torch.float32))


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Raise the refusals of a bundle as NotAnalysable, and errors of the disk as they are."""
    path.open("rb").close()  # MONAI's readers would hide why a file cannot be read
    try:
        yield
    except Exception as error:
        if refusal := refusal_behind(error):
            raise refusal from error
        cause = root(error)
        if isinstance(cause, MemoryError):
            raise cause from error
        if isinstance(cause, OSError):
            if cause.errno is not None:  # of the operating system: the disk, not the content
                raise cause from error
            raise NotAnalysable(Reason.PIXELS_UNREADABLE) from error
        raise


def open_parts(bundle: Path) -> Parts:
    """Build what a bundle has before and after its network; its code may raise anything."""
    config = parse_configuration(bundle, read_metadata(bundle))
    return Parts(
        preprocessing=config.get_parsed_content("preprocessing"),
        postprocessing=config.get_parsed_content("postprocessing"),
    )


def assemble(config: ConfigParser, weights: bytes, device: torch.device) -> Pipeline:
    """Build the pipeline of a bundle and load its weights; its code may raise anything."""
    network = config.get_parsed_content("network_def")
    fit(network, weights)
    return Pipeline(
        preprocessing=config.get_parsed_content("preprocessing"),
        network=network.to(device).eval(),
        inferer=config.get_parsed_content("inferer"),
        postprocessing=config.get_parsed_content("postprocessing"),
        device=device,
    )


def named(
    given: torch.Tensor | Mapping[str, torch.Tensor], *, batch: int
) -> dict[str, torch.Tensor]:
    """Return an inferer's outputs by name; a plain tensor is the logits."""
    outputs = given if isinstance(given, Mapping) else {"pred": given}
    if "pred" not in outputs:
        raise BundleError(
            f"the bundle's inferer gives {', '.join(map(str, outputs)) or 'nothing'} and no "
            '"pred": let it give the logits under that name'
        )
    for key, output in outputs.items():
        if not isinstance(output, torch.Tensor) or output.ndim == 0 or len(output) != batch:
            raise BundleError(
                f'the bundle\'s inferer gives for "{key}" no tensor with one entry for each of '
                f"{batch} radiographs: put the batch first"
            )
    return {key: output.to(device="cpu", dtype=torch.float32) for key, output in outputs.items()}


def _region(found: Any) -> Region | None:  # noqa: ANN401 -- a bundle's own list, array or tensor
    if found is None:
        return None
    top, left, bottom, right = (float(edge) for edge in found)
    return Region(top=top, left=left, bottom=bottom, right=right)


def _attention(found: Any) -> AttentionMap | None:  # noqa: ANN401 -- as above
    """Return a map of logits as probabilities; None for what else a bundle may mean by the key.

    The map covers the radiograph evenly, so one that is finer than the ledger keeps is averaged.
    """
    try:
        logits = torch.as_tensor(found, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        return None
    if logits.ndim == _MAP_AXES + 1 and len(logits) == 1:
        logits = logits[0]
    if logits.ndim != _MAP_AXES or logits.numel() == 0 or not logits.isfinite().all():
        return None
    rows, columns = (min(side, LONGEST_SIDE) for side in logits.shape)
    shown = adaptive_avg_pool2d(logits.sigmoid()[None], (rows, columns)).clamp(0, 1)
    values = tuple(round(value, DECIMALS) for value in shown.flatten().tolist())
    return AttentionMap(rows=rows, columns=columns, values=values)


def _number(found: Any) -> float | None:  # noqa: ANN401 -- a bundle's own number, array or tensor
    """Return a single number; None for what else a bundle may mean by the same key."""
    try:
        return float(found)
    except (TypeError, ValueError, RuntimeError):
        return None


def _shrunk(image: torch.Tensor) -> NDArray[np.float32]:
    """Return 1xHxW as HxW, averaged down to PICTURE_SIDE."""
    rows, columns = image.shape[-2:]
    if max(rows, columns) == 2 * PICTURE_SIDE and rows % 2 == columns % 2 == 0:
        image = _halved(image)
    scale = max(image.shape[-2:]) / PICTURE_SIDE
    if scale > 1:
        rows, columns = (max(1, round(side / scale)) for side in image.shape[-2:])
        image = torch.nn.functional.interpolate(image[None], (rows, columns), mode="area")[0]
    return np.asarray(image[0].numpy(), dtype=np.float32)


def _halved(image: torch.Tensor) -> torch.Tensor:
    """Return the means of squares of two by two: a third of the time that torch takes for them."""
    upper, lower = image[:, 0::2], image[:, 1::2]
    sums = upper[..., 0::2] + upper[..., 1::2] + lower[..., 0::2] + lower[..., 1::2]
    return sums / 4
