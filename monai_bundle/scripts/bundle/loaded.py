"""The bundle as its own scripts use it: what is shipped, loaded once, from the bundle's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from scripts.refusal import unreadable_behind
from scripts.training.package_weights import configured, read_metadata

BATCH: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """The parts of configs/inference.yaml."""

    preprocessing: Any
    network: nn.Module
    inferer: Any
    postprocessing: Any
    metadata: Mapping[str, Any]

    def present(self, path: str) -> Tensor:
        """Give a file as the network sees it, 1xHxW; raises as the preprocessing does."""
        return torch.as_tensor(self.preprocessing({"image": path})["image"])

    def tell(self, images: Tensor | Sequence[Tensor]) -> dict[str, Tensor]:
        """Give the network's outputs for images Bx1xHxW, a few at a time."""
        stacked = images if isinstance(images, Tensor) else torch.stack(list(images))
        with torch.inference_mode():
            told = [self.inferer(few, self.network) for few in stacked.split(BATCH)]
        return {key: torch.cat([each[key] for each in told]) for key in told[0]}

    def probabilities(self, logits: Tensor) -> Tensor:
        """Give the calibrated probabilities of logits of any shape."""
        scale = self.metadata["calibration"]
        return (logits / scale["temperature"] + scale["bias"]).sigmoid()

    def refusals(self, told: Mapping[str, Tensor]) -> list[str | None]:
        """Give for each picture the code with which the gate refuses it, or None."""
        each = [dict(zip(told, items, strict=True)) for items in zip(*told.values(), strict=True)]
        return [self._refusal(item) for item in each]

    def _refusal(self, told: dict[str, Tensor]) -> str | None:
        try:
            self.postprocessing(told)
        except Exception as error:
            if unreadable := unreadable_behind(error):
                return unreadable.code
            raise
        return None


def load_shipped() -> Shipped:
    """Load what configs/inference.yaml and configs/metadata.json name."""
    names = ("preprocessing", "network", "inferer", "postprocessing")
    return Shipped(**{name: configured(name) for name in names}, metadata=read_metadata())
