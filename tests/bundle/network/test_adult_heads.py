"""The heads for adults read the members' maps, and take over the more an image is an adult's."""

import pytest
import torch
from scripts.network.adult_heads import AdultHeads, soft_maximum
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.network.ensemble import Ensemble

SIDE = 96


def images() -> torch.Tensor:
    noise = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) * 2 - 1
    return torch.cat([noise, torch.linspace(-1, 1, SIDE).expand(1, 1, SIDE, SIDE)])


def fitted(ensemble: Ensemble, *, age: float) -> Ensemble:
    """Heads of random weights, for which each image has the same logit of an adult."""
    torch.manual_seed(3)
    for name, parameter in ensemble.adults.named_parameters():
        torch.nn.init.normal_(parameter, std=0.01)
        if name.startswith("is_adult"):
            parameter.data.fill_(age if name.endswith("bias") else 0.0)
    return ensemble


def test_equal_places_give_their_own_value() -> None:
    found = soft_maximum(torch.full((2, 1, 5, 7), -1.5), torch.tensor(3.0))
    assert found.shape == (2, 1)
    assert found[:, 0].tolist() == pytest.approx([-1.5, -1.5], abs=1e-5)


def test_a_few_strong_places_decide_and_a_larger_number_decides_more() -> None:
    evidence = torch.full((3, 1, 10, 10), -3.0)
    evidence[1, 0, :2, :5] = 3
    evidence[2, 0, :5, :] = 3
    none, tenth, half = soft_maximum(evidence, torch.tensor(4.0))[:, 0].tolist()
    assert none == pytest.approx(-3, abs=1e-5)
    assert 2 < tenth < half < 3


def test_before_the_heads_are_fitted_each_image_is_read_as_a_child_s() -> None:
    torch.manual_seed(1)
    ensemble = Ensemble(EfficientNetLite(), members=2).eval()
    with torch.inference_mode():
        outputs = ensemble(images())
        wanted = ensemble.read_members(images()).activation.mean((1, 2, 3))
    assert outputs["pred"][:, 0].numpy() == pytest.approx(wanted.numpy(), abs=1e-5)
    assert float(outputs["adult"].max()) < 1e-10
    assert float(outputs["other"].abs().max()) == 0


def test_an_adult_s_image_is_read_by_the_heads_alone_and_a_share_mixes_both() -> None:
    torch.manual_seed(1)
    ensemble = Ensemble(EfficientNetLite(), members=2).eval()
    with torch.inference_mode():
        child = ensemble(images())
        adult = fitted(ensemble, age=30)(images())
        maps = ensemble.read_members(images())
        heads = ensemble.adults(maps.middle, maps.last)
        mixed = fitted(ensemble, age=0)(images())
    assert torch.allclose(adult["pred"], heads.pred)
    assert torch.allclose(adult["attention"], heads.attention)
    assert adult["attention"].shape == (2, 1, SIDE // 16, SIDE // 16)
    assert torch.allclose(mixed["pred"], (child["pred"] + adult["pred"]) / 2, atol=1e-5)
    assert torch.allclose(
        mixed["attention"], (child["attention"] + adult["attention"]) / 2, atol=1e-5
    )
    assert torch.equal(mixed["other"], adult["other"])
    assert float(adult["other"].std()) > 0


def test_the_soft_maximum_of_the_map_is_the_logit() -> None:
    torch.manual_seed(2)
    heads = AdultHeads(6, 8)
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter)
    middle, last = torch.rand(3, 6, 4, 4), torch.rand(3, 8, 2, 2)
    with torch.inference_mode():
        found = heads(middle, last)
        pooled = heads.opacity(last.mean((2, 3)))
        local = found.attention - pooled[:, :, None, None]
    assert found.attention.shape == (3, 1, 4, 4)
    assert torch.equal(found.pred, soft_maximum(found.attention, heads.sharpness))
    assert torch.allclose(found.pred, pooled + soft_maximum(local, heads.sharpness), atol=1e-5)
    assert float(local.std()) > 0
