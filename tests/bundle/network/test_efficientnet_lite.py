"""The network of one member: its size, its padding and its frozen layers."""

import pytest
import torch
from scripts.network.efficientnet_lite import LAST_CHANNELS, EfficientNetLite, SameConv2d
from torch import Tensor, nn

PARAMETERS = 3_371_713  # EfficientNet-Lite0's without 1,000 classes and two of three colours


@pytest.fixture
def network() -> EfficientNetLite:
    torch.manual_seed(1)
    return EfficientNetLite()


def images(count: int, side: int = 64) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_the_network_has_the_documented_number_of_parameters(network: EfficientNetLite) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS


@pytest.mark.parametrize(("side", "positions"), [(64, 2), (224, 7), (225, 8), (97, 4)])
def test_any_image_size_gives_one_logit_and_a_map_of_a_32nd_of_it(
    network: EfficientNetLite, side: int, positions: int
) -> None:
    network.eval()
    with torch.inference_mode():
        assert network(images(2, side)).shape == (2, 1)
        assert network.maps(images(2, side)).shape == (2, LAST_CHANNELS, positions, positions)


def test_the_logit_is_the_mean_of_the_evidence_at_each_position(network: EfficientNetLite) -> None:
    network.eval()
    with torch.inference_mode():
        maps = network.maps(images(3, 128))
        evidence = network.classifier(maps.movedim(1, -1))[..., 0]
        logits = network(images(3, 128))[:, 0]
    assert evidence.shape == (3, 4, 4)
    assert evidence.std() > 0
    torch.testing.assert_close(evidence.mean((1, 2)), logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("side", [7, 8, 16])
def test_an_odd_pixel_of_padding_is_at_the_right_and_at_the_bottom(
    kernel: int, stride: int, side: int
) -> None:
    convolution = SameConv2d(1, 1, kernel, stride=stride)
    nn.init.constant_(convolution.weight, 1.0)
    out = -(-side // stride)
    padding = max((out - 1) * stride + kernel - side, 0)
    with torch.no_grad():
        found = convolution(torch.ones(1, 1, side, side))[0, 0]
    reach = torch.arange(out) * stride - padding // 2  # where each window begins
    inside = (reach + kernel).clamp(max=side) - reach.clamp(min=0)
    torch.testing.assert_close(found, torch.outer(inside, inside).float())


def states(network: EfficientNetLite) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("blocks", [-1, 0, 3, 16])
def test_frozen_layers_keep_weights_and_statistics_while_the_others_are_trained(
    network: EfficientNetLite, blocks: int
) -> None:
    network.freeze(blocks).train()
    before = states(network)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(images(4)).square().sum().backward()
    optimizer.step()
    still = ["stem.", *(f"blocks.{index}." for index in range(blocks))] if blocks >= 0 else []
    moved = {
        name
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    held = {name for name in before if name.startswith(tuple(still))}
    assert not moved & held
    rest = {name for name in before.keys() - held if not name.endswith("bias")}
    assert {name for name in rest if "running" in name or "tracked" in name} <= moved
    assert len(moved & rest) > 0.8 * len(rest)


def test_frozen_layers_stay_frozen_after_a_validation(
    network: EfficientNetLite,
) -> None:
    network.freeze(2).eval()
    network.train()
    assert network.blocks[2].training
    assert not any(part.training for part in [*network.stem, *network.blocks[1].modules()])


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (5, 2)])
def test_the_gradient_of_a_bfloat16_depthwise_convolution_is_that_of_float32(
    kernel: int, stride: int
) -> None:
    torch.manual_seed(3)
    convolution = SameConv2d(8, 8, kernel, stride=stride, groups=8)
    maps = torch.randn(2, 8, 15, 15).bfloat16().float()
    with torch.no_grad():
        convolution.weight.copy_(convolution.weight.bfloat16())
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        given = maps.clone().to(dtype).requires_grad_()
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = convolution(given)
        assert out.dtype == dtype
        out.float().square().sum().backward()
        assert given.grad is not None
        assert convolution.weight.grad is not None
        gradients.append((given.grad.float(), convolution.weight.grad.clone()))
    for exact, half in zip(*gradients, strict=True):
        assert (half - exact).norm() < 0.01 * exact.norm()
        assert exact.norm() > 0


def test_dropout_is_active_in_training_only(network: EfficientNetLite) -> None:
    network.eval()
    with torch.inference_mode():
        assert torch.equal(network(images(2)), network(images(2)))
        network.dropout.train()
        assert not torch.equal(network(images(2)), network(images(2)))
