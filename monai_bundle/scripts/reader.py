"""The network with all that it says of a radiograph in one pass: finding, evidence, scope."""

from typing import Final

import torch
from torch import Tensor, nn

from scripts.network import EfficientNetLite
from scripts.unreadable import Code

SCOPE: Final = (None, Code.NOT_CHEST, Code.LATERAL, Code.TURNED, Code.INVERTED, Code.CUT_OFF)
MIDDLE_BLOCKS: Final = 11  # after which the maps, at a stride of 16, still tell where things are
_MIDDLE_WIDTH: Final = 112
MIDDLE_SIDE: Final = 7  # the head looks at a grid of so many cells a side


class ScopeHead(nn.Module):
    """Two answers read off the middle maps, for a thousandth of the network's cost.

    Which of `SCOPE` the picture is (logits), and how far its channels' means and spreads lie from
    those of the training radiographs: the squared Mahalanobis distance over its dimensions, which
    is about 1 for an ordinary one (Lee et al., "A simple unified framework for detecting
    out-of-distribution samples", 2018).
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Sequential(
            nn.AdaptiveAvgPool2d(MIDDLE_SIDE),
            nn.Conv2d(_MIDDLE_WIDTH, 32, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * MIDDLE_SIDE**2, 64),
            nn.ReLU(),
            nn.Linear(64, len(SCOPE)),
        )
        self.register_buffer("mean", torch.zeros(2 * _MIDDLE_WIDTH))
        self.register_buffer("whitening", torch.eye(2 * _MIDDLE_WIDTH))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits Bx6 and the distances Bx1 for middle maps Bx112xHxW."""
        whitened = (spread_of(maps) - self.mean) @ self.whitening
        return self.places(maps), whitened.square().mean(1, keepdim=True)


def spread_of(maps: Tensor) -> Tensor:
    """Give each channel's mean and standard deviation over the picture: Bx224 for Bx112xHxW."""
    return torch.cat([maps.mean((2, 3)), maps.std((2, 3))], dim=1)


class Reader(nn.Module):
    """What is published: a trained network, and the head that knows what is not for it."""

    def __init__(self, network: EfficientNetLite) -> None:
        super().__init__()
        self.network = network
        self.scope = ScopeHead()

    def middle(self, images: Tensor) -> Tensor:
        """Give the maps that the scope is read off, Bx112x(H/16)x(W/16)."""
        maps: Tensor = self.network.blocks[:MIDDLE_BLOCKS](self.network.stem(images))
        return maps

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give for images Bx1xHxW all that one pass tells.

        `pred`: the logit of pneumonia, Bx1. `evidence`: where it comes from, Bx1x(H/32)x(W/32),
        a class activation map that needs no gradient: because pooling and classifier are linear,
        its mean is the logit itself (Zhou et al., "Learning deep features for discriminative
        localization", 2016). `scope`: logits of `SCOPE`, Bx6. `distance`: Bx1, see `ScopeHead`.
        """
        middle = self.middle(images)
        scope, distance = self.scope(middle)
        last = self.network.head(self.network.blocks[MIDDLE_BLOCKS:](middle))
        classifier = self.network.classifier
        evidence = nn.functional.conv2d(last, classifier.weight[:, :, None, None], classifier.bias)
        return {
            "pred": evidence.mean((2, 3)),
            "evidence": evidence,
            "scope": scope,
            "distance": distance,
        }
