"""The network with all that it says of a radiograph in one pass: finding, attention, scope."""

from copy import deepcopy
from typing import Final

import torch
from torch import Tensor, nn

from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.refusal import Code

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
    """What is published: some trainings of one network read together, and a head for the scope.

    The trainings began with the same lower blocks and held them still, so that these are one and
    run once. Their answers are averaged; the scope is read off the first one's middle maps.
    """

    def __init__(self, network: EfficientNetLite, members: int = 1, shared_blocks: int = 3) -> None:
        super().__init__()
        self.shared_blocks = shared_blocks
        self.trunk = nn.Sequential(network.stem, network.blocks[:shared_blocks])
        tops = [network, *(deepcopy(network) for _ in range(members - 1))]
        self.middles = nn.ModuleList(top.blocks[shared_blocks:MIDDLE_BLOCKS] for top in tops)
        self.lasts = nn.ModuleList(
            nn.Sequential(top.blocks[MIDDLE_BLOCKS:], top.head) for top in tops
        )
        self.classifiers = nn.ModuleList(top.classifier for top in tops)
        self.scope = ScopeHead()

    def load_member(self, index: int, network: EfficientNetLite) -> None:
        """Take over a trained network; raises ValueError if its lower blocks are its own."""
        trunk = nn.Sequential(network.stem, network.blocks[: self.shared_blocks]).state_dict()
        if index == 0:
            self.trunk.load_state_dict(trunk)
        for name, tensor in self.trunk.state_dict().items():
            if not name.endswith("num_batches_tracked") and not torch.equal(tensor, trunk[name]):
                raise ValueError(f"training {index} did not hold its first blocks still: {name}")
        middle, last = network.blocks[self.shared_blocks :], network.blocks[MIDDLE_BLOCKS:]
        middle = middle[: MIDDLE_BLOCKS - self.shared_blocks]
        self.middles[index].load_state_dict(middle.state_dict())
        self.lasts[index].load_state_dict(nn.Sequential(last, network.head).state_dict())
        self.classifiers[index].load_state_dict(network.classifier.state_dict())

    def middle(self, images: Tensor) -> Tensor:
        """Give the maps that the scope is read off, Bx112x(H/16)x(W/16)."""
        maps: Tensor = self.middles[0](self.trunk(images))
        return maps

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give for images Bx1xHxW all that one pass tells.

        `pred`: the logit of pneumonia, Bx1. `attention`: where it comes from, Bx1x(H/32)x(W/32),
        a class activation map that needs no gradient: because pooling and classifier are linear,
        its mean is the logit itself (Zhou et al., "Learning deep features for discriminative
        localization", 2016). `scope`: logits of `SCOPE`, Bx6. `distance`: Bx1, see `ScopeHead`.
        """
        lower = self.trunk(images)
        middles = [middle(lower) for middle in self.middles]
        scope, distance = self.scope(middles[0])
        found = [
            attention_of(last(middle), classifier)
            for middle, last, classifier in zip(middles, self.lasts, self.classifiers, strict=True)
        ]
        attention = torch.stack(found).mean(0)
        return {
            "pred": attention.mean((2, 3)),
            "attention": attention,
            "scope": scope,
            "distance": distance,
        }


def attention_of(maps: Tensor, classifier: nn.Module) -> Tensor:
    """Give what a linear classifier says at each place of the last maps, Bx1xhxw for BxCxhxw."""
    return nn.functional.conv2d(maps, classifier.weight[:, :, None, None], classifier.bias)


class Logits(nn.Module):
    """A reader of which only the finding is asked, as MONAI's evaluators want it."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits Bx1 of images Bx1xHxW."""
        logits: Tensor = self.reader(images)["pred"]
        return logits
