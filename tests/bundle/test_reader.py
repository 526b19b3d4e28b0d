"""What one pass tells: the finding, where it comes from, what the picture is."""

from pathlib import Path

import pytest
import torch
from scripts.network import EfficientNetLite
from scripts.publish import mean_of
from scripts.reader import SCOPE, Reader, spread_of

from service.reasons import Reason

SIDE = 96


@pytest.fixture(scope="module")
def reader() -> Reader:
    torch.manual_seed(4)
    return Reader(EfficientNetLite()).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) * 2 - 1


def test_the_finding_is_what_the_trained_network_says_by_itself(
    reader: Reader, images: torch.Tensor
) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(reader(images)["pred"], reader.network(images))


def test_the_evidence_has_the_logit_for_its_mean(reader: Reader, images: torch.Tensor) -> None:
    with torch.inference_mode():
        told = reader(images)
    assert told["evidence"].shape == (3, 1, SIDE // 32, SIDE // 32)
    torch.testing.assert_close(told["evidence"].mean((2, 3)), told["pred"])


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


def test_several_trainings_are_published_as_their_mean(tmp_path: Path) -> None:
    states = [
        {"weight": torch.full((2, 2), float(value)), "steps": torch.tensor(value)}
        for value in (1, 4)
    ]
    paths = [tmp_path / f"{number}.pt" for number in range(2)]
    for state, path in zip(states, paths, strict=True):
        torch.save(state, path)
    mean = mean_of(paths)
    assert torch.equal(mean["weight"], torch.full((2, 2), 2.5))
    assert mean["steps"] == 1
