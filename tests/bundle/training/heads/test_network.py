"""The network has a logit for each head and starts from what it is told."""

import pytest
import torch
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.network.ensemble import Ensemble
from scripts.training.heads.network import (
    VARIANTS,
    SeveralHeads,
    build_network,
    first_member,
)
from scripts.training.heads.table import HEADS


def images(count: int = 2) -> torch.Tensor:
    torch.manual_seed(4)
    return torch.rand(count, 1, 64, 64) * 2 - 1


@pytest.mark.parametrize("normalisation", ["none", "equalise"])
def test_the_mean_of_the_attention_map_is_the_opacity_s_logit(normalisation: str) -> None:
    network = SeveralHeads(EfficientNetLite(), normalisation).eval()
    with torch.inference_mode():
        logits, attention = network(images()), network.attention(images())
    assert logits.shape == (2, len(HEADS))
    assert attention.shape == (2, 1, 2, 2)
    assert attention.mean((1, 2, 3)).numpy() == pytest.approx(logits[:, 0].numpy(), abs=1e-5)


def test_all_heads_train_the_shared_backbone() -> None:
    network = build_network().train()
    for head in range(len(HEADS)):
        network.zero_grad()
        network(images())[:, head].sum().backward()
        gradient = network.backbone.head[0].get_parameter("weight").grad
        assert gradient is not None
        assert float(gradient.abs().sum()) > 0


def test_the_shipped_member_alone_has_its_own_logit() -> None:
    torch.manual_seed(2)
    ensemble = Ensemble(EfficientNetLite(), members=1).eval()
    network = first_member(ensemble).eval()
    with torch.inference_mode():
        assert torch.equal(network(images()), ensemble(images())["pred"]) or torch.allclose(
            network(images()), ensemble(images())["pred"], atol=1e-5
        )


@pytest.mark.parametrize(("variant", "published"), [("lite0", 4_652_008), ("lite2", 6_092_072)])
def test_a_variant_has_the_published_number_of_weights(variant: str, published: int) -> None:
    network = EfficientNetLite(stages=VARIANTS[variant])
    ours = sum(each.numel() for each in network.parameters())
    colours, classes = 2 * 32 * 3 * 3, 999 * (1280 + 1)
    assert ours + colours + classes == published


def test_shipped_weights_do_not_start_the_larger_variant() -> None:
    with pytest.raises(ValueError, match="the shipped weights are of lite0, not of lite2"):
        build_network(variant="lite2", start="shipped")
