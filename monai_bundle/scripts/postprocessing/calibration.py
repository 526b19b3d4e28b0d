"""Calibrate logits, and interpret a probability at an operating point."""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform


class PlattScaled(MapTransform):
    """Replace each keyed logit by logit / temperature + bias (Platt 1999).

    The order of the images stays the same, and their probabilities become calibrated. Platt,
    "Probabilistic Outputs for Support Vector Machines", Advances in Large Margin Classifiers, 1999.

    Args:
        keys: the logits to scale.
        temperature: positive, fitted on the validation part.
        bias: fitted with it.
    """

    def __init__(self, keys: KeysCollection, temperature: float, bias: float) -> None:
        super().__init__(keys)
        if not temperature > 0:
            raise ValueError(f"the temperature must be positive, not {temperature}")
        self.temperature = temperature
        self.bias = bias

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with each keyed logit scaled."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.scale(result[key])
        return result

    def scale(self, logit: Any) -> Any:  # noqa: ANN401 -- a number, or a tensor of any kind
        """Return a logit, or many, scaled."""
        return logit / self.temperature + self.bias


def finding_at(probability: float, operating_point: Mapping[str, Any]) -> str:
    """Return the finding at an operating point: "present", "absent" or "indeterminate"."""
    low, high = operating_point["indeterminate"]
    if low < probability < high:
        return "indeterminate"
    return "present" if probability >= operating_point["threshold"] else "absent"
