"""Saturated images are refused, and a batch is scaled as single images are."""

from collections.abc import Hashable

import pytest
import torch
from scripts.preprocessing.intensity import RefuseSaturatedd, scale_batch
from scripts.refusal import RadiographRefusedError, RefusalCode


def image_of(*, white: float = 0, black: float = 0) -> dict[Hashable, torch.Tensor]:
    values = torch.linspace(0.2, 0.8, 10_000)
    values[: round(white * 10_000)] = 1
    values[len(values) - round(black * 10_000) :] = 0
    values[5000], values[5001] = 0, 1
    return {"image": values.view(1, 100, 100)}


@pytest.mark.parametrize(("white", "black"), [(0, 0), (0.3, 0), (0, 0.7), (0.2, 0.45)])
def test_borders_are_not_saturation(white: float, black: float) -> None:
    given = image_of(white=white, black=black)
    assert RefuseSaturatedd("image")(given) == given


@pytest.mark.parametrize(("white", "black"), [(0.4, 0), (0, 0.8), (0.34, 0.45)])
def test_a_saturated_image_is_refused(white: float, black: float) -> None:
    with pytest.raises(RadiographRefusedError) as refused:
        RefuseSaturatedd("image")(image_of(white=white, black=black))
    assert refused.value.code == RefusalCode.SATURATED


@pytest.mark.parametrize(("black", "is_refused"), [(0.85, False), (0.97, True)])
def test_what_is_hidden_is_not_saturation(black: float, is_refused: bool) -> None:  # noqa: FBT001 -- a parameter
    given = {**image_of(black=black), "image_hidden": 0.8}
    if is_refused:
        with pytest.raises(RadiographRefusedError):
            RefuseSaturatedd("image")(given)
    else:
        assert RefuseSaturatedd("image")(given) == given


def test_a_blank_image_of_a_batch_stays_as_it_is_while_the_others_are_scaled() -> None:
    images = torch.stack([torch.zeros(1, 8, 8), torch.linspace(0, 0.1, 64).view(1, 8, 8)])
    scaled = scale_batch(images)
    assert torch.equal(scaled[0], torch.zeros(1, 8, 8))
    assert (float(scaled[1].min()), float(scaled[1].max())) == (-1, 1)
