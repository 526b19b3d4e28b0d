"""The network of one member: EfficientNet-Lite0 with one input channel and one logit."""

from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

LAST_CHANNELS: Final = 1280  # of the last maps
EPSILON: Final = 1e-3  # of the batch normalisations, as the published weights were trained with

# Repeats, kernel, stride, expansion, output channels of each stage: Tan and Le, "EfficientNet",
# ICML 2019, table 1, as changed for EfficientNet-Lite: no squeeze-and-excitation, ReLU6 for swish.
Stages = tuple[tuple[int, int, int, int, int], ...]
STAGES: Final[Stages] = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv2d(nn.Conv2d):
    """A convolution padded as in TensorFlow: an odd pixel goes to the right and to the bottom."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        even = kernel // 2 if stride == 1 else 0
        super().__init__(
            channels_in, channels_out, kernel, stride, padding=even, groups=groups, bias=False
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve BxCxHxW; each side of the output is ceil(side / stride)."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        if stride > 1:
            tall, wide = (
                max((-(-side // stride) - 1) * stride + kernel - side, 0)
                for side in maps.shape[-2:]
            )
            maps = pad(maps, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))
        is_slow = maps.dtype == torch.bfloat16 and maps.device.type == "cpu"
        if self.groups > 1 and is_slow and maps.requires_grad:
            convolved: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call] # torch's own
                maps, self.weight, stride, int(self.padding[0])
            )
            return convolved
        return super().forward(maps)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution in bfloat16 with a backward pass in float32: 2 to 5 times as fast.

    oneDNN's backward pass for large depthwise kernels is slow in bfloat16 on a CPU (torch 2.13).
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:  # noqa: ANN401 -- torch does not type its context
        ctx.save_for_backward(maps, weight)
        ctx.geometry = ([stride] * 2, [padding] * 2)
        return conv2d(maps, weight.to(maps.dtype), None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401 -- the same
        maps, weight = ctx.saved_tensors
        stride, padding = ctx.geometry
        of_maps, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient.float(), maps.float(), weight.float(), None, stride, padding, [1, 1],
            False, [0, 0], len(weight), [True, True, False],  # noqa: FBT003 -- ATen's order
        )  # fmt: skip
        return of_maps.to(maps.dtype), of_weight.to(weight.dtype), None, None


def _unit(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        SameConv2d(channels_in, channels_out, kernel, stride=stride, groups=groups),
        nn.BatchNorm2d(channels_out, eps=EPSILON, momentum=0.05),
    ]


class InvertedBottleneck(nn.Module):
    """Expand, depthwise convolution, project; with a residual connection where the shapes agree."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = channels_in * expansion
        expand = [*_unit(channels_in, inner, 1), nn.ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            *_unit(inner, inner, kernel, stride=stride, groups=inner),
            nn.ReLU6(),
            *_unit(inner, channels_out, 1),
        )
        self.has_residual = stride == 1 and channels_in == channels_out

    def forward(self, maps: Tensor) -> Tensor:
        """Return BxC'xH'xW' for maps BxCxHxW."""
        changed: Tensor = self.layers(maps)
        return maps + changed if self.has_residual else changed


class EfficientNetLite(nn.Module):
    """One logit of pneumonia per image; 3.4 million parameters, 0.8 GFLOP at 224x224.

    Args:
        dropout_prob: of the features before the classifier, in training.
        stages: of the blocks; those of Lite0 by default.
    """

    def __init__(self, dropout_prob: float = 0.2, stages: Stages = STAGES) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_unit(1, 32, 3, stride=2), nn.ReLU6())
        blocks: list[nn.Module] = []
        channels = 32
        for repeats, kernel, stride, expansion, width in stages:
            for index in range(repeats):
                blocks.append(
                    InvertedBottleneck(
                        channels,
                        width,
                        kernel,
                        stride=stride if index == 0 else 1,
                        expansion=expansion,
                    )
                )
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*_unit(channels, LAST_CHANNELS, 1), nn.ReLU6())
        self.dropout = nn.Dropout(dropout_prob)
        self.classifier = nn.Linear(LAST_CHANNELS, 1)
        self.frozen_blocks = -1

    def freeze(self, blocks: int) -> Self:
        """Freeze the stem and the first `blocks` blocks, 0 to all; -1 freezes nothing."""
        self.frozen_blocks = blocks
        for part in self._frozen():
            part.requires_grad_(requires_grad=False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 -- torch's signature
        """Set the mode of all but the frozen layers, which keep their batch statistics as well."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def _frozen(self) -> list[nn.Module]:
        if self.frozen_blocks < 0:
            return []
        return [self.stem, *list(self.blocks)[: self.frozen_blocks]]

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps, Bx1280x(H/32)x(W/32), of images Bx1xHxW in [-1, 1]."""
        maps: Tensor = self.head(self.blocks(self.stem(images)))
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits Bx1 of images Bx1xHxW in [-1, 1]."""
        logits: Tensor = self.classifier(self.dropout(self.maps(images).mean((2, 3))))
        return logits
