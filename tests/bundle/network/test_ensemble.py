"""What one pass tells: the finding, where it comes from, what the picture is."""

from pathlib import Path

import pytest
import torch
from scripts.network.batchnorm_folding import FoldedInferer
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.network.ensemble import SCOPE, Logits, Reader, spread_of
from scripts.training.package_weights import packed

from service.reasons import Reason

SIDE = 96


def trained(seed: int) -> EfficientNetLite:
    """A network as a training might leave it: the first blocks as they were, the rest its own."""
    torch.manual_seed(4)
    network = EfficientNetLite()
    torch.manual_seed(seed)
    for part in [*network.blocks[3:], network.head, network.classifier]:
        for tensor in part.parameters():
            tensor.data.mul_(1 + 0.1 * torch.randn_like(tensor))
    return network.eval()


@pytest.fixture(scope="module")
def networks() -> list[EfficientNetLite]:
    return [trained(seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def reader(networks: list[EfficientNetLite]) -> Reader:
    made = Reader(EfficientNetLite(), members=2)
    for index, network in enumerate(networks):
        made.load_member(index, network)
    return made.eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) * 2 - 1


def test_the_finding_is_the_mean_of_what_each_training_says_by_itself(
    reader: Reader, networks: list[EfficientNetLite], images: torch.Tensor
) -> None:
    with torch.inference_mode():
        alone = torch.stack([network(images) for network in networks])
        torch.testing.assert_close(reader(images)["pred"], alone.mean(0))
        assert torch.equal(Logits(reader)(images), reader(images)["pred"])
    assert float((alone[0] - alone[1]).abs().max()) > 1e-5


def test_a_training_that_changed_the_shared_blocks_is_no_member(reader: Reader) -> None:
    torch.manual_seed(9)
    with pytest.raises(ValueError, match="training 1 did not hold its first blocks still"):
        reader.load_member(1, EfficientNetLite())


def test_the_evidence_has_the_logit_for_its_mean(reader: Reader, images: torch.Tensor) -> None:
    with torch.inference_mode():
        told = reader(images)
    assert told["attention"].shape == (3, 1, SIDE // 32, SIDE // 32)
    torch.testing.assert_close(told["attention"].mean((2, 3)), told["pred"])


def test_each_picture_is_judged_by_itself(reader: Reader, images: torch.Tensor) -> None:
    with torch.inference_mode():
        together = reader(images)
        alone = reader(images[1:2])
    for key, value in together.items():
        assert len(value) == len(images)
        torch.testing.assert_close(value[1:2], alone[key], atol=1e-4, rtol=1e-4)


def test_every_answer_of_the_gate_is_a_reason_of_the_service() -> None:
    assert SCOPE[0] is None
    assert {str(code) for code in SCOPE[1:]} <= {str(reason) for reason in Reason}


def test_what_lies_where_the_training_radiographs_lie_is_near(reader: Reader) -> None:
    chance = torch.Generator().manual_seed(6)
    maps = torch.randn(500, 112, 4, 4, generator=chance)
    spreads = spread_of(maps)
    reader.scope.mean.copy_(spreads.mean(0))
    reader.scope.whitening.copy_(torch.diag(1 / spreads.std(0)))
    with torch.inference_mode():
        near, far = reader.scope(maps)[1], reader.scope(maps * 3 + 2)[1]
    assert float(near.mean()) == pytest.approx(1, abs=0.05)
    assert float(far.min()) > float(near.max()) * 5


def test_what_is_stored_is_half_as_large_and_nearly_the_same(
    reader: Reader, images: torch.Tensor, tmp_path: Path
) -> None:
    torch.save(reader.state_dict(), tmp_path / "whole.pt")
    torch.save(packed(reader.state_dict()), tmp_path / "packed.pt")
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.pt", "packed.pt")]
    assert sizes[1] < 0.55 * sizes[0]
    again = Reader(EfficientNetLite(), members=2).eval()
    again.load_state_dict(torch.load(tmp_path / "packed.pt", weights_only=True))
    assert all(tensor.dtype != torch.float16 for tensor in again.state_dict().values())
    with torch.inference_mode():
        torch.testing.assert_close(
            again(images)["pred"], reader(images)["pred"], atol=5e-3, rtol=5e-3
        )


def test_the_folded_reader_tells_the_same(reader: Reader, images: torch.Tensor) -> None:
    inferer = FoldedInferer()
    with torch.inference_mode():
        told, plain = inferer(images, reader), reader(images)
        again = inferer(images[:1], reader)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in inferer._folded.modules())
    for key, value in plain.items():
        torch.testing.assert_close(told[key], value, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(again[key], value[:1], atol=1e-4, rtol=1e-4)


def test_another_network_is_folded_anew(images: torch.Tensor) -> None:
    inferer = FoldedInferer()
    with torch.inference_mode():
        for seed in (1, 2):
            network = trained(seed)
            torch.testing.assert_close(inferer(images, network), network(images))
