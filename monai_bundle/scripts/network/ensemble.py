"""The published network: five trained members, heads for adults and a gate, in one forward pass."""

from copy import deepcopy
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scripts.network.adult_heads import AdultHeads
from scripts.network.efficientnet_lite import LAST_CHANNELS, EfficientNetLite
from scripts.refusal import RefusalCode

# What the gate tells apart; None is an upright frontal chest radiograph.
SCOPE_CLASSES: Final = (
    None,
    RefusalCode.NOT_CHEST,
    RefusalCode.LATERAL,
    RefusalCode.TURNED,
    RefusalCode.INVERTED,
    RefusalCode.CUT_OFF,
)
MIDDLE_BLOCKS: Final = 11  # blocks before the middle maps, whose stride of 16 keeps positions
MIDDLE_SIDE: Final = 7  # cells a side of the grid that the gate pools the middle maps to
_MIDDLE_CHANNELS: Final = 112


class ScopeHead(nn.Module):
    """The gate's two outputs, computed from the middle maps at 0.1 % of the network's cost.

    The first are the logits of `SCOPE_CLASSES`. The second is the squared Mahalanobis distance of
    the channels' means and standard deviations from those of the training radiographs, divided by
    its number of dimensions, so that it is about 1 for a typical radiograph (Lee et al., "A Simple
    Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018).
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Sequential(
            nn.AdaptiveAvgPool2d(MIDDLE_SIDE),
            nn.Conv2d(_MIDDLE_CHANNELS, 48, 1),
            nn.ReLU(),
            nn.Conv2d(48, 48, 3, padding=1),  # halves the mirrored radiographs that pass
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(48 * MIDDLE_SIDE**2, 64),
            nn.ReLU(),
            nn.Linear(64, len(SCOPE_CLASSES)),
        )
        self.register_buffer("mean", torch.zeros(2 * _MIDDLE_CHANNELS))
        self.register_buffer("whitening", torch.eye(2 * _MIDDLE_CHANNELS))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits Bx6 and the distances Bx1 for middle maps Bx112xHxW."""
        return self.places(maps), self.distances(channel_statistics(maps))

    def distances(self, statistics: Tensor) -> Tensor:
        """Return the distances Bx1 of channel statistics Bx224."""
        whitened = (statistics - self.mean) @ self.whitening
        return whitened.square().mean(1, keepdim=True)


def channel_statistics(maps: Tensor) -> Tensor:
    """Return each channel's mean and standard deviation over its positions: Bx2C for BxCxHxW."""
    return torch.cat([maps.mean((2, 3)), maps.std((2, 3))], dim=1)


class MemberMaps(NamedTuple):
    """What M members compute for B images; the channels of all are joined."""

    middle: Tensor  # BxM*112x(H/16)x(W/16)
    last: Tensor  # BxM*1280x(H/32)x(W/32)
    activation: Tensor  # the class activation maps of pneumonia, BxMx(H/32)x(W/32)


class Ensemble(nn.Module):
    """Several trainings of one network, evaluated together, heads for adults, and a gate.

    The trainings started from the same lower blocks and kept them frozen, so these blocks are
    stored and run once. The members' logits are averaged: that is the reading of a child. The more
    an image looks like an adult's, the more the heads for adults read it instead. The gate uses the
    middle maps of the first member.

    Args:
        network: the architecture of a member; its weights are copied into each.
        members: the number of trainings.
        shared_blocks: the number of lower blocks that were frozen, beside the stem.
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
        self.adults = AdultHeads(members * _MIDDLE_CHANNELS, members * LAST_CHANNELS)
        self.scope = ScopeHead()

    def load_member(self, index: int, network: EfficientNetLite) -> None:
        """Copy a trained network's weights into member `index`.

        Raises:
            ValueError: its lower blocks differ from those of member 0.
        """
        trunk = nn.Sequential(network.stem, network.blocks[: self.shared_blocks]).state_dict()
        if index == 0:
            self.trunk.load_state_dict(trunk)
        for name, tensor in self.trunk.state_dict().items():
            if not name.endswith("num_batches_tracked") and not torch.equal(tensor, trunk[name]):
                raise ValueError(f"training {index} did not keep its first blocks frozen: {name}")
        middle = network.blocks[self.shared_blocks : MIDDLE_BLOCKS]
        last = network.blocks[MIDDLE_BLOCKS:]
        self.middles[index].load_state_dict(middle.state_dict())
        self.lasts[index].load_state_dict(nn.Sequential(last, network.head).state_dict())
        self.classifiers[index].load_state_dict(network.classifier.state_dict())

    def middle(self, images: Tensor) -> Tensor:
        """Return the first member's middle maps, Bx112x(H/16)x(W/16)."""
        maps: Tensor = self.middles[0](self.trunk(images))
        return maps

    def read_members(self, images: Tensor) -> MemberMaps:
        """Return the maps of all members for images Bx1xHxW in [-1, 1]."""
        lower = self.trunk(images)
        middles = [middle(lower) for middle in self.middles]
        lasts = [last(middle) for middle, last in zip(middles, self.lasts, strict=True)]
        activations = [
            class_activation_map(last, classifier)
            for last, classifier in zip(lasts, self.classifiers, strict=True)
        ]
        return MemberMaps(torch.cat(middles, 1), torch.cat(lasts, 1), torch.cat(activations, 1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return all outputs for images Bx1xHxW in [-1, 1].

        Returns:
            `pred`: the logit of pneumonia, Bx1.
            `other`: the logit of another abnormality, Bx1. It was fitted to adults.
            `attention`: the evidence for pneumonia place by place, Bx1x(H/16)x(W/16). Of a child it
                is the class activation map, enlarged, whose mean is the logit: pooling and
                classifier are linear (Zhou et al., "Learning Deep Features for Discriminative
                Localization", CVPR 2016). Of an adult its soft maximum is, see `AdultHeads`.
            `adult`: how far the image looks like an adult's, 0 to 1, Bx1; by this share the two
                readings are mixed.
            `scope`: the logits of `SCOPE_CLASSES`, Bx6.
            `distance`: Bx1, see `ScopeHead`.
        """
        return self.read(self.read_members(images))

    def read(self, maps: MemberMaps) -> dict[str, Tensor]:
        """Return all outputs for what the members compute, see `forward`."""
        adults = self.adults(maps.middle, maps.last)
        child = maps.activation.mean(1, keepdim=True)
        enlarged = interpolate(child, maps.middle.shape[-2:], mode="bilinear")
        scope, distance = self.scope(maps.middle[:, :_MIDDLE_CHANNELS])
        share = adults.share
        return {
            "pred": torch.lerp(child.mean((2, 3)), adults.pred, share),
            "other": adults.other,
            "attention": torch.lerp(enlarged, adults.attention, share[:, :, None, None]),
            "adult": share,
            "scope": scope,
            "distance": distance,
        }


def class_activation_map(maps: Tensor, classifier: nn.Module) -> Tensor:
    """Apply a linear classifier at each position of the last maps: Bx1xhxw for BxCxhxw."""
    weight, bias = (classifier.get_parameter(name) for name in ("weight", "bias"))
    return nn.functional.conv2d(maps, weight[:, :, None, None], bias)


class LogitsOnly(nn.Module):
    """An ensemble reduced to its logit of pneumonia, as MONAI's evaluators expect it."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits Bx1 of images Bx1xHxW in [-1, 1]."""
        logits: Tensor = self.ensemble(images)["pred"]
        return logits
