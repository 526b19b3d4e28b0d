"""The gate before the finding: what the pixels show must be what the network learnt to read."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform

from scripts.network.ensemble import SCOPE
from scripts.refusal import Code, UnreadableRadiographError


class InScope(Transform):
    """Let pass what the reader takes for an upright frontal chest radiograph; refuse the rest.

    Reads `scope` (logits of `reader.SCOPE`) and `distance` of one radiograph; outputs without
    them pass. `least_in_scope` is the share, 0 to 1, that being in scope must have;
    `largest_distance` the mean squared deviation that may be. Both are set on the validation part
    by `scripts.training.train_gate`.
    Raises UnreadableRadiographError with the likeliest code.
    """

    def __init__(self, least_in_scope: float, largest_distance: float) -> None:
        self.least_in_scope = least_in_scope
        self.largest_distance = largest_distance

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give `data` as it is, if it may pass."""
        if "scope" in data:
            shares = torch.as_tensor(data["scope"]).softmax(0)
            if float(shares[0]) < self.least_in_scope:
                code = SCOPE[1 + int(shares[1:].argmax())]
                raise UnreadableRadiographError(code or Code.NOT_CHEST, "the gate's answer")
        distance = float(data.get("distance", 0))
        if distance > self.largest_distance:
            raise UnreadableRadiographError(Code.UNFAMILIAR, f"distance {distance:.1f}")
        return dict(data)
