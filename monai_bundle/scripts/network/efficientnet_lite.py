"""The network: EfficientNet-Lite0 for one grey channel, with the map its answer is read off."""

from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

WIDTH: Final = 1280  # channels of the last map
EPSILON: Final = 1e-3  # of the batch normalisations, as the published weights were trained with

# Repeats, kernel, stride, expansion, output channels of each stage: Tan and Le, "EfficientNet",
# 2019, table 1, as changed for EfficientNet-Lite: no squeeze-and-excitation, ReLU6 for swish.
STAGES: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow does: what is odd goes to the right and to the bottom."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        even = kernel // 2 if stride == 1 else 0
        super().__init__(
            channels_in, channels_out, kernel, stride, padding=even, groups=groups, bias=False
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve BxCxHxW; each side comes out as ceil(side / stride)."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        if stride > 1:
            tall, wide = (
                max((-(-side // stride) - 1) * stride + kernel - side, 0)
                for side in maps.shape[-2:]
            )
            maps = pad(maps, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))
        if self.groups > 1 and maps.dtype == torch.bfloat16 and maps.requires_grad:
            return _Depthwise.apply(maps, self.weight, stride, self.padding[0])
        return super().forward(maps)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution of bfloat16 that goes back in float32: two to five times as fast.

    oneDNN's backward pass for large depthwise kernels is slow in bfloat16 on a CPU (torch 2.13).
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:  # noqa: ANN401 -- torch has no name for it
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
    """Expand, convolve each channel alone, project; with a way around where the shapes agree."""

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
        self.has_way_around = stride == 1 and channels_in == channels_out

    def forward(self, maps: Tensor) -> Tensor:
        """Give BxC'xH'xW' for BxCxHxW."""
        changed: Tensor = self.layers(maps)
        return maps + changed if self.has_way_around else changed


class EfficientNetLite(nn.Module):
    """One logit, Bx1, for radiographs Bx1xHxW in [-1, 1]; 0.8 GFLOP at 224x224."""

    def __init__(self, dropout_prob: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_unit(1, 32, 3, stride=2), nn.ReLU6())
        blocks: list[nn.Module] = []
        channels = 32
        for repeats, kernel, stride, expansion, width in STAGES:
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
        self.head = nn.Sequential(*_unit(channels, WIDTH, 1), nn.ReLU6())
        self.dropout = nn.Dropout(dropout_prob)
        self.classifier = nn.Linear(WIDTH, 1)
        self.still_blocks = -1

    def hold_still(self, blocks: int) -> Self:
        """Let the stem and the first `blocks` blocks, 0 to 16, learn nothing; -1 for all learn."""
        self.still_blocks = blocks
        for part in self._still():
            part.requires_grad_(requires_grad=False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 -- torch's signature
        """Set the mode of all but what holds still, which keeps its batch statistics too."""
        super().train(mode)
        for part in self._still():
            part.eval()
        return self

    def _still(self) -> list[nn.Module]:
        return [self.stem, *self.blocks[: self.still_blocks]] if self.still_blocks >= 0 else []

    def maps(self, images: Tensor) -> Tensor:
        """Give the last maps, Bx1280x(H/32)x(W/32)."""
        found: Tensor = self.head(self.blocks(self.stem(images)))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits Bx1 of images Bx1xHxW."""
        logits: Tensor = self.classifier(self.dropout(self.maps(images).mean((2, 3))))
        return logits
