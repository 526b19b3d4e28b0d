"""The attention map of a bundle, as the pipeline hands it on."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from service.domain.evidence import LONGEST_SIDE, AttentionMap
from workers.inference.pipeline import ModelOutput, Pipeline


def handed_on(attention: object) -> AttentionMap | None:
    def postprocessing(outputs: dict[str, Any]) -> dict[str, Any]:
        return {"pred": torch.sigmoid(outputs["pred"]), "attention": attention}

    pipeline = Pipeline(
        preprocessing=lambda data: data,
        network=torch.nn.Identity(),
        inferer=lambda images, network: network(images).mean((1, 2, 3)),
        postprocessing=postprocessing,
        device=torch.device("cpu"),
    )
    [output] = pipeline.answer([np.zeros((1, 8, 8), np.float32)])
    assert isinstance(output, ModelOutput)
    return output.attention


@pytest.mark.parametrize("with_channel", [False, True])
def test_logits_become_probabilities_row_by_row(with_channel: bool) -> None:  # noqa: FBT001
    logits = torch.tensor([[0.0, 2.0, -2.0], [30.0, -30.0, 1.0]])
    found = handed_on(logits[None] if with_channel else logits)
    assert found is not None
    assert (found.rows, found.columns) == (2, 3)
    wanted = [0.5, *(1 / (1 + math.exp(-each)) for each in (2, -2, 30, -30, 1))]
    assert found.values == pytest.approx(wanted, abs=0.001)


def test_a_fine_map_is_averaged_to_what_the_ledger_keeps() -> None:
    logits = torch.full((4 * LONGEST_SIDE, 7), -30.0)
    logits[:4] = 30.0
    found = handed_on(logits)
    assert found is not None
    assert (found.rows, found.columns) == (LONGEST_SIDE, 7)
    assert found.values[:7] == pytest.approx([1.0] * 7)
    assert found.values[7:] == pytest.approx([0.0] * 7 * (LONGEST_SIDE - 1))


@pytest.mark.parametrize(
    "other",
    [
        None,
        "a word",
        {"rows": 2},
        3.0,
        torch.zeros(0, 4),
        torch.zeros(2, 3, 3),
        torch.zeros(4),
        torch.tensor([[0.0, float("nan")]]),
        torch.tensor([[0.0, float("inf")]]),
        [[1.0], [1.0, 2.0]],
    ],
)
def test_what_else_a_bundle_means_by_the_key_is_no_map(other: object) -> None:
    assert handed_on(other) is None
