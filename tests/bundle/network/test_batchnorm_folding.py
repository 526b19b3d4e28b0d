"""Folding batch normalisations leaves the function of a network unchanged."""

import copy

import pytest
import torch
from scripts.network.batchnorm_folding import fold_batchnorm
from scripts.network.efficientnet_lite import EfficientNetLite
from synthetic.pictures import chest
from torch import Tensor, nn


@pytest.fixture(scope="module")
def network() -> EfficientNetLite:
    """A network whose batch statistics and gains differ from those of a new one."""
    torch.manual_seed(4)
    network = EfficientNetLite()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
            part.momentum = 1.0  # one batch sets all statistics
    network.train()
    with torch.no_grad():
        network(images(8))
    return network.eval()


def images(count: int, side: int = 64) -> Tensor:
    image = torch.from_numpy(chest(side, side, 8) / 127.5 - 1).float()
    noise = 0.3 * torch.randn(count, 1, side, side)
    return (image.expand(count, 1, side, side) + noise).clamp(-1, 1)


@pytest.mark.parametrize("side", [64, 97])
def test_a_folded_network_gives_the_same_logits_and_has_no_batch_normalisation_left(
    network: EfficientNetLite, side: int
) -> None:
    given = images(4, side)
    exact = copy.deepcopy(network).double()
    with torch.inference_mode():
        wanted, found = network(given), fold_batchnorm(network)(given)
        torch.testing.assert_close(
            fold_batchnorm(exact)(given.double()), exact(given.double()), atol=1e-10, rtol=1e-10
        )
    assert wanted.std() > 1e-3
    torch.testing.assert_close(found.sigmoid(), wanted.sigmoid(), atol=1e-5, rtol=0)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fold_batchnorm(network).modules())


def test_folding_leaves_the_network_unchanged_and_its_copy_without_gradients(
    network: EfficientNetLite,
) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    copied = fold_batchnorm(network)
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert not any(part.training for part in copied.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == {
        name: tensor.shape for name, tensor in before.items()
    }
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_network_in_training_mode_is_folded_as_in_evaluation_mode(
    network: EfficientNetLite,
) -> None:
    given = images(2)
    wanted = network(given)
    try:
        found = fold_batchnorm(network.train())(given)
        assert network.training
    finally:
        network.eval()
    torch.testing.assert_close(found.sigmoid(), wanted.sigmoid(), atol=1e-5, rtol=0)


def test_folded_bfloat16_keeps_its_biases_outside_of_inference_mode_too(
    network: EfficientNetLite,
) -> None:
    given = images(4)
    with torch.autocast("cpu", torch.bfloat16):
        found = fold_batchnorm(network)(given).float()
    with torch.inference_mode():
        assert (found - network(given)).abs().max() < 0.2


def test_layers_in_another_order_are_not_folded() -> None:
    torch.manual_seed(5)
    before = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3))
    after = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    whole = nn.Sequential(before, after).train()
    for _ in range(9):
        whole(torch.rand(4, 2, 8, 8))
    given = torch.rand(4, 2, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(fold_batchnorm(whole)(given), whole.eval()(given))
    left = [part for part in fold_batchnorm(whole).modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(left) == 3
