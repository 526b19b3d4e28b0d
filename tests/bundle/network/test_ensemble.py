"""One forward pass gives the logit, the attention map and the gate's outputs."""

from pathlib import Path

import pytest
import torch
from scripts.network.batchnorm_folding import BatchNormFoldingInferer
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.network.ensemble import SCOPE_CLASSES, Ensemble, LogitsOnly, channel_statistics
from scripts.training.package_weights import to_half_precision

from service.domain.reasons import Reason

SIDE = 96


def trained(seed: int) -> EfficientNetLite:
    """A network after a training in which the first three blocks were frozen."""
    torch.manual_seed(4)
    network = EfficientNetLite()
    torch.manual_seed(seed)
    for part in [*list(network.blocks)[3:], network.head, network.classifier]:
        for tensor in part.parameters():
            tensor.data.mul_(1 + 0.1 * torch.randn_like(tensor))
    return network.eval()


@pytest.fixture(scope="module")
def networks() -> list[EfficientNetLite]:
    return [trained(seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def ensemble(networks: list[EfficientNetLite]) -> Ensemble:
    made = Ensemble(EfficientNetLite(), members=2)
    for index, network in enumerate(networks):
        made.load_member(index, network)
    return made.eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) * 2 - 1


def test_the_logit_is_the_mean_of_the_members_logits(
    ensemble: Ensemble, networks: list[EfficientNetLite], images: torch.Tensor
) -> None:
    with torch.inference_mode():
        alone = torch.stack([network(images) for network in networks])
        torch.testing.assert_close(ensemble(images)["pred"], alone.mean(0))
        assert torch.equal(LogitsOnly(ensemble)(images), ensemble(images)["pred"])
    assert float((alone[0] - alone[1]).abs().max()) > 1e-5


def test_a_training_that_changed_the_shared_blocks_is_refused(ensemble: Ensemble) -> None:
    torch.manual_seed(9)
    with pytest.raises(ValueError, match="training 1 did not keep its first blocks frozen"):
        ensemble.load_member(1, EfficientNetLite())


def test_the_mean_of_a_child_s_attention_map_is_the_logit(
    ensemble: Ensemble, images: torch.Tensor
) -> None:
    with torch.inference_mode():
        outputs = ensemble(images)
    assert outputs["attention"].shape == (3, 1, SIDE // 16, SIDE // 16)
    torch.testing.assert_close(outputs["attention"].mean((2, 3)), outputs["pred"])


def test_each_image_of_a_batch_is_independent_of_the_others(
    ensemble: Ensemble, images: torch.Tensor
) -> None:
    with torch.inference_mode():
        together = ensemble(images)
        alone = ensemble(images[1:2])
    for key, value in together.items():
        assert len(value) == len(images)
        torch.testing.assert_close(value[1:2], alone[key], atol=1e-4, rtol=1e-4)


def test_every_class_of_the_gate_is_a_reason_of_the_service() -> None:
    assert SCOPE_CLASSES[0] is None
    assert {str(code) for code in SCOPE_CLASSES[1:]} <= {str(reason) for reason in Reason}


def test_images_like_the_training_radiographs_have_a_small_distance(ensemble: Ensemble) -> None:
    chance = torch.Generator().manual_seed(6)
    maps = torch.randn(500, 112, 4, 4, generator=chance)
    spreads = channel_statistics(maps)
    ensemble.scope.mean.copy_(spreads.mean(0))
    ensemble.scope.whitening.copy_(torch.diag(1 / spreads.std(0)))
    with torch.inference_mode():
        near, far = ensemble.scope(maps)[1], ensemble.scope(maps * 3 + 2)[1]
    assert float(near.mean()) == pytest.approx(1, abs=0.05)
    assert float(far.min()) > float(near.max()) * 5


def test_stored_weights_are_half_as_large_and_nearly_the_same(
    ensemble: Ensemble, images: torch.Tensor, tmp_path: Path
) -> None:
    torch.save(ensemble.state_dict(), tmp_path / "whole.pt")
    torch.save(to_half_precision(ensemble.state_dict()), tmp_path / "packed.pt")
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.pt", "packed.pt")]
    assert sizes[1] < 0.55 * sizes[0]
    again = Ensemble(EfficientNetLite(), members=2).eval()
    again.load_state_dict(torch.load(tmp_path / "packed.pt", weights_only=True))
    assert all(tensor.dtype != torch.float16 for tensor in again.state_dict().values())
    with torch.inference_mode():
        torch.testing.assert_close(
            again(images)["pred"], ensemble(images)["pred"], atol=5e-3, rtol=5e-3
        )


def test_the_folded_ensemble_has_the_same_outputs(ensemble: Ensemble, images: torch.Tensor) -> None:
    inferer = BatchNormFoldingInferer()
    with torch.inference_mode():
        outputs, plain = inferer(images, ensemble), ensemble(images)
        again = inferer(images[:1], ensemble)
    assert inferer._folded is not None
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in inferer._folded.modules())
    for key, value in plain.items():
        torch.testing.assert_close(outputs[key], value, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(again[key], value[:1], atol=1e-4, rtol=1e-4)


def test_another_network_is_folded_again(images: torch.Tensor) -> None:
    inferer = BatchNormFoldingInferer()
    with torch.inference_mode():
        for seed in (1, 2):
            network = trained(seed)
            torch.testing.assert_close(inferer(images, network), network(images))
