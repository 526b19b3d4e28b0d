"""From a logit to a calibrated probability, and from a probability to a finding."""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform


class PlattScaled(MapTransform):
    """Turn each keyed logit into logit / temperature + bias, both fitted on the validation set.

    Platt, "Probabilistic Outputs for Support Vector Machines", 1999. The order of the
    probabilities stays; their size comes to mean what it says.
    """

    def __init__(self, keys: KeysCollection, temperature: float, bias: float) -> None:
        super().__init__(keys)
        if not temperature > 0:
            raise ValueError(f"a temperature is positive, not {temperature}")
        self.temperature = temperature
        self.bias = bias

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give `data` with each keyed logit scaled."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = result[key] / self.temperature + self.bias
        return result


def finding(probability: float, operating_point: Mapping[str, Any]) -> str:
    """Say what a probability means at an operating point: present, absent or indeterminate."""
    low, high = operating_point["indeterminate"]
    if low < probability < high:
        return "indeterminate"
    return "present" if probability >= operating_point["threshold"] else "absent"
