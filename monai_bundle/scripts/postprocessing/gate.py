"""The gate: refuse images that are not what the network was trained on."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms.transform import Transform

from scripts.network.ensemble import SCOPE_CLASSES
from scripts.refusal import RadiographRefusedError, RefusalCode


class RefuseOutOfScope(Transform):
    """Pass what the network classifies as an upright frontal chest radiograph; refuse the rest.

    Reads the outputs `scope`, logits of `SCOPE_CLASSES`, and `distance` of one image; outputs
    without them pass. `scripts.training.train_gate` chooses both limits on the validation part.

    Args:
        least_in_scope: the smallest probability, 0 to 1, of being in scope.
        largest_distance: the largest distance from the training radiographs, see `ScopeHead`.

    Raises:
        RadiographRefusedError: the image is refused, with the most probable reason.
    """

    def __init__(self, least_in_scope: float, largest_distance: float) -> None:
        self.least_in_scope = least_in_scope
        self.largest_distance = largest_distance

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` unchanged."""
        if "scope" in data:
            shares = torch.as_tensor(data["scope"]).softmax(0)
            if float(shares[0]) < self.least_in_scope:
                code = SCOPE_CLASSES[1 + int(shares[1:].argmax())]
                raise RadiographRefusedError(code or RefusalCode.NOT_CHEST, "the gate's answer")
        distance = float(data.get("distance", 0))
        if distance > self.largest_distance:
            raise RadiographRefusedError(RefusalCode.UNFAMILIAR, f"distance {distance:.1f}")
        return dict(data)
