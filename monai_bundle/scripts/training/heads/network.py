"""The network with several heads, and the weights that its training can start from."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from scripts.bundle.files import build_component
from scripts.network.efficientnet_lite import LAST_CHANNELS, STAGES, EfficientNetLite, Stages
from scripts.network.ensemble import class_activation_map
from scripts.training.heads.table import HEADS
from scripts.training.heads.tones import Normalisation
from scripts.training.pretrained import load_pretrained

# EfficientNet-Lite2: widths times 1.1, rounded to multiples of 8, and repeats times 1.2, rounded
# up; the first and the last stage keep their repeats (Tan and Le, ICML 2019, section 3.3).
STAGES_LITE2: Final[Stages] = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
VARIANTS: Final[dict[str, Stages]] = {"lite0": STAGES, "lite2": STAGES_LITE2}
SHIPPED, RANDOM = "shipped", "random"  # where the weights start, if not in a file


class SeveralHeads(nn.Module):
    """One backbone, whose pooled features all heads share; a logit for each of `HEADS`.

    Args:
        backbone: its own classifier becomes that of the first head, the opacity.
        normalisation: one of `tones.NORMALISATIONS`.
    """

    def __init__(self, backbone: EfficientNetLite, normalisation: str = "none") -> None:
        super().__init__()
        self.normalisation = Normalisation(normalisation)
        self.backbone = backbone
        self.others = nn.Linear(LAST_CHANNELS, len(HEADS) - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits BxHEADS of images Bx1xHxW in [-1, 1]."""
        maps = self.backbone.maps(self.normalisation(images))
        pooled = self.backbone.dropout(maps.mean((2, 3)))
        return torch.cat([self.backbone.classifier(pooled), self.others(pooled)], dim=1)

    def attention(self, images: Tensor) -> Tensor:
        """Return the class activation map of the opacity, whose mean is its logit: Bx1xhxw."""
        maps = self.backbone.maps(self.normalisation(images))
        return class_activation_map(maps, self.backbone.classifier)


def build_network(
    *,
    variant: str = "lite0",
    normalisation: str = "none",
    start: str | Path = RANDOM,
    sha256: str | None = None,
) -> SeveralHeads:
    """Build a network and load the weights that its training starts from.

    Args:
        variant: one of `VARIANTS`.
        normalisation: one of `tones.NORMALISATIONS`.
        start: "shipped" for the first member of the bundle's own weights, "random", or the file of
            the variant's ImageNet weights.
        sha256: the digest that the file must have; any if None.

    Raises:
        ValueError: the weights do not fit the variant.
    """
    backbone = EfficientNetLite(stages=VARIANTS[variant])
    if start == SHIPPED:
        if variant != "lite0":
            raise ValueError(f"the shipped weights are of lite0, not of {variant}")
        backbone = first_member(build_component("network"))
    elif start != RANDOM:
        load_pretrained(backbone, start, sha256)
    return SeveralHeads(backbone, normalisation)


def first_member(ensemble: Any) -> EfficientNetLite:  # noqa: ANN401 -- its parts are modules of any class
    """Return the first training of an ensemble as a network of its own."""
    network = EfficientNetLite()
    stem, lower = ensemble.trunk
    upper, head = ensemble.lasts[0]
    network.stem.load_state_dict(stem.state_dict())
    blocks = nn.Sequential(*lower, *ensemble.middles[0], *upper)
    network.blocks.load_state_dict(blocks.state_dict())
    network.head.load_state_dict(head.state_dict())
    network.classifier.load_state_dict(ensemble.classifiers[0].state_dict())
    return network
