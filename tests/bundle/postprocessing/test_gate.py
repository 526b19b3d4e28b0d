"""The gate passes images in scope and refuses others with the reason."""

from collections.abc import Hashable

import pytest
import torch
from scripts.network.ensemble import SCOPE_CLASSES
from scripts.postprocessing.gate import RefuseOutOfScope
from scripts.refusal import RadiographRefusedError, RefusalCode

GATE = RefuseOutOfScope(least_in_scope=0.6, largest_distance=3.0)


def outputs(*logits: float, distance: float = 1.0) -> dict[Hashable, torch.Tensor]:
    return {"scope": torch.tensor(logits).float(), "distance": torch.tensor([distance])}


def test_an_image_in_scope_passes_unchanged() -> None:
    given = outputs(5, 0, 0, 0, 0, 0)
    passed = GATE(given)
    assert passed.keys() == given.keys()
    assert all(passed[key] is given[key] for key in given)


@pytest.mark.parametrize(
    "index", range(1, len(SCOPE_CLASSES)), ids=lambda index: str(SCOPE_CLASSES[index])
)
def test_an_image_of_another_class_is_refused_with_its_code(index: int) -> None:
    logits = [0.0] * len(SCOPE_CLASSES)
    logits[index] = 3.0
    with pytest.raises(RadiographRefusedError) as refused:
        GATE(outputs(*logits))
    assert refused.value.code == SCOPE_CLASSES[index]


def test_an_image_that_is_in_scope_with_too_low_a_probability_is_refused() -> None:
    with pytest.raises(RadiographRefusedError) as refused:
        GATE(outputs(1.0, 0.9, -9, -9, -9, -9))
    assert refused.value.code == RefusalCode.NOT_CHEST


def test_an_image_far_from_the_training_radiographs_is_refused_as_unfamiliar() -> None:
    with pytest.raises(RadiographRefusedError) as refused:
        GATE(outputs(9, 0, 0, 0, 0, 0, distance=3.1))
    assert refused.value.code == RefusalCode.UNFAMILIAR


def test_outputs_without_scope_and_distance_pass() -> None:
    assert GATE({"pred": torch.tensor([1.0])}) == {"pred": torch.tensor([1.0])}
