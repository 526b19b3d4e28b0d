"""The shipped model, loaded once and used from the bundle's folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from scripts.bundle.files import build_component, read_metadata
from scripts.refusal import find_refusal

BATCH_SIZE: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedBundle:
    """The components of configs/inference.yaml, and configs/metadata.json."""

    preprocessing: Callable[[dict[str, Any]], dict[str, Any]]
    network: nn.Module
    inferer: Callable[[Tensor, nn.Module], Mapping[str, Tensor]]
    postprocessing: Callable[[dict[str, Any]], dict[str, Any]]
    metadata: Mapping[str, Any]

    def preprocess(self, path: str) -> Tensor:
        """Return the network's input 1xHxW for a file; raises what the preprocessing raises."""
        return torch.as_tensor(self.preprocessing({"image": path})["image"])

    def run_network(self, images: Tensor | Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the network's outputs for images Bx1xHxW, computed in batches."""
        stacked = images if isinstance(images, Tensor) else torch.stack(list(images))
        with torch.inference_mode():
            outputs = [self.inferer(batch, self.network) for batch in stacked.split(BATCH_SIZE)]
        return {key: torch.cat([each[key] for each in outputs]) for key in outputs[0]}

    def entry(self, cohort: str) -> Mapping[str, Any]:
        """Return what has the calibration and the operating points for films of a cohort.

        Children and adults have their own; of another cohort, or of a bundle without populations,
        these are the metadata themselves.
        """
        population = {"pediatric": "children", "adult": "adults"}.get(cohort, "")
        entry: Mapping[str, Any] = self.metadata.get("populations", {}).get(population, {})
        return entry if "calibration" in entry else self.metadata

    def probabilities(self, logits: Tensor, cohort: str = "") -> Tensor:
        """Return the probabilities of logits of any shape, calibrated for films of a cohort."""
        calibration = self.entry(cohort)["calibration"]
        scaled: Tensor = logits / calibration["temperature"] + calibration["bias"]
        return scaled.sigmoid()

    def refusal_codes(self, outputs: Mapping[str, Tensor]) -> list[str | None]:
        """Return for each image of a batch the code with which the gate refuses it, or None."""
        items = zip(*outputs.values(), strict=True)
        return [self._refusal_code(dict(zip(outputs, item, strict=True))) for item in items]

    def _refusal_code(self, outputs: dict[str, Tensor]) -> str | None:
        try:
            self.postprocessing(outputs)
        except Exception as error:
            if refusal := find_refusal(error):
                return refusal.code
            raise
        return None


def load_bundle() -> LoadedBundle:
    """Load what configs/inference.yaml and configs/metadata.json name."""
    names = ("preprocessing", "network", "inferer", "postprocessing")
    return LoadedBundle(**{name: build_component(name) for name in names}, metadata=read_metadata())
