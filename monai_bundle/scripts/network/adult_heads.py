"""Read an opacity and other abnormalities on films of adults, from the members' frozen maps.

The members were trained on children, and on a first set of adults that taught them nothing that
holds elsewhere. Fine-tuning on the few adults that radiologists read overfitted; linear heads on
the members' maps, fitted in closed form with a strong penalty, did better
(docs/adr/0011-network.md).
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

NEVER: Final = -30.0  # the logit of an adult before the heads are fitted: each film is a child's


class AdultOutputs(NamedTuple):
    """What the heads find in B images."""

    share: Tensor  # Bx1, from 0 to 1: how far the image looks like an adult's
    pred: Tensor  # the logit of an opacity, Bx1
    other: Tensor  # the logit of another abnormality, Bx1
    attention: Tensor  # Bx1xHxW, whose soft maximum is the logit of an opacity


class AdultHeads(nn.Module):
    """Linear heads on the maps of all members.

    The evidence for an opacity has two parts: one of the pooled features, the same at each place,
    and a local one, which was fitted to boxes that radiologists drew. Their soft maximum over all
    places is the logit.

    Args:
        middle: the number of channels of all members' middle maps.
        last: that of their last maps.
    """

    sharpness: Tensor

    def __init__(self, middle: int, last: int) -> None:
        super().__init__()
        self.is_adult = nn.Linear(last, 1)
        self.opacity = nn.Linear(last, 1)
        self.other = nn.Linear(last, 1)
        self.coarse = nn.Conv2d(last, 1, 1)
        self.fine = nn.Conv2d(middle, 1, 1)
        self.register_buffer("sharpness", torch.ones(()))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        nn.init.constant_(self.is_adult.bias, NEVER)

    def forward(self, middle: Tensor, last: Tensor) -> AdultOutputs:
        """Return what the heads find in middle maps BxCxHxW and last maps BxC'xhxw."""
        pooled = last.mean((2, 3))
        size = middle.shape[-2:]
        evidence = self.fine(middle) + interpolate(self.coarse(last), size, mode="bilinear")
        attention = evidence + self.opacity(pooled)[:, :, None, None]
        return AdultOutputs(
            share=self.is_adult(pooled).sigmoid(),
            pred=soft_maximum(attention, self.sharpness),
            other=self.other(pooled),
            attention=attention,
        )


def soft_maximum(evidence: Tensor, sharpness: Tensor) -> Tensor:
    """Return a smooth maximum over the places of Bx1xHxW, Bx1: equal places give their value.

    The logarithm of the mean of exponentials (Pinheiro and Collobert, "From Image-level to
    Pixel-level Labeling with Convolutional Networks", CVPR 2015, equation 3).
    """
    places = evidence.flatten(2) * sharpness
    count = torch.tensor(float(places.shape[-1]), device=places.device)
    maximum: Tensor = (places.logsumexp(2) - count.log()) / sharpness
    return maximum
