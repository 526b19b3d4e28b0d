"""The gate lets pass what it knows, and says why it turns away the rest."""

import numpy as np
import pytest
import torch
from scripts.data import out_of_scope as other_pictures
from scripts.data import synthetic_negatives as drawn_pictures
from scripts.data.datasets import Radiograph
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.network.ensemble import SCOPE, Reader, spread_of
from scripts.postprocessing.gate import InScope
from scripts.preprocessing.intensity import RefuseSaturatedd
from scripts.refusal import Code, UnreadableRadiographError
from scripts.training.train_gate import Pictures, remember, teach, toned

SIDE = 64
GATE = InScope(least_in_scope=0.6, largest_distance=3.0)


def told(*logits: float, distance: float = 1.0) -> dict[str, torch.Tensor]:
    return {"scope": torch.tensor(logits).float(), "distance": torch.tensor([distance])}


def test_what_is_in_scope_and_near_passes_unchanged() -> None:
    given = told(5, 0, 0, 0, 0, 0)
    passed = GATE(given)
    assert passed.keys() == given.keys()
    assert all(passed[key] is given[key] for key in given)


@pytest.mark.parametrize("index", range(1, len(SCOPE)), ids=lambda index: str(SCOPE[index]))
def test_what_is_something_else_is_refused_by_its_name(index: int) -> None:
    logits = [0.0] * len(SCOPE)
    logits[index] = 3.0
    with pytest.raises(UnreadableRadiographError) as refused:
        GATE(told(*logits))
    assert refused.value.code == SCOPE[index]


def test_what_is_likelier_in_scope_than_anything_else_may_still_be_too_doubtful() -> None:
    with pytest.raises(UnreadableRadiographError) as refused:
        GATE(told(1.0, 0.9, -9, -9, -9, -9))
    assert refused.value.code == Code.NOT_CHEST


def test_what_is_far_from_the_training_radiographs_is_refused_as_unfamiliar() -> None:
    with pytest.raises(UnreadableRadiographError) as refused:
        GATE(told(9, 0, 0, 0, 0, 0, distance=3.1))
    assert refused.value.code == Code.UNFAMILIAR


def test_outputs_that_know_no_scope_pass() -> None:
    assert GATE({"pred": torch.tensor([1.0])}) == {"pred": torch.tensor([1.0])}


def image_of(*, white: float = 0, black: float = 0) -> dict[str, torch.Tensor]:
    values = torch.linspace(0.2, 0.8, 10_000)
    values[: round(white * 10_000)] = 1
    values[len(values) - round(black * 10_000) :] = 0
    values[5000], values[5001] = 0, 1
    return {"image": values.view(1, 100, 100)}


@pytest.mark.parametrize(("white", "black"), [(0, 0), (0.3, 0), (0, 0.7), (0.2, 0.45)])
def test_borders_are_no_saturation(white: float, black: float) -> None:
    given = image_of(white=white, black=black)
    assert RefuseSaturatedd("image")(given) == given


@pytest.mark.parametrize(("white", "black"), [(0.4, 0), (0, 0.8), (0.34, 0.45)])
def test_an_image_whose_tones_are_gone_is_refused(white: float, black: float) -> None:
    with pytest.raises(UnreadableRadiographError) as refused:
        RefuseSaturatedd("image")(image_of(white=white, black=black))
    assert refused.value.code == Code.SATURATED


def chest_like() -> torch.Tensor:
    """A picture that is neither symmetric nor the same when turned."""
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij"
    )
    return (0.6 * rows + 0.3 * columns + 0.2 * torch.sin(7 * columns)).clamp(-1, 1)


MADE_OF_RADIOGRAPHS = [change for _, change, _ in other_pictures.FROM_RADIOGRAPHS]


@pytest.mark.parametrize(
    "change", [*MADE_OF_RADIOGRAPHS, other_pictures.one_lung_wide], ids=lambda f: f.__name__
)
def test_a_changed_radiograph_is_another_picture_of_the_same_size(change) -> None:  # noqa: ANN001
    given = chest_like()
    found = change(given, np.random.default_rng(8))
    assert found.shape == given.shape
    assert -1.001 <= float(found.min()) <= float(found.max()) <= 1.001
    assert float((found - given).abs().mean()) > 0.05
    again = change(given, np.random.default_rng(8))
    assert torch.equal(found, again)


@pytest.mark.parametrize(
    "draw",
    [*drawn_pictures.OF_NOTHING, drawn_pictures.hand, drawn_pictures.skull],
    ids=lambda f: f.__name__,
)
def test_a_drawn_picture_spans_the_tones_and_depends_on_chance_alone(draw) -> None:  # noqa: ANN001
    found = draw(SIDE, np.random.default_rng(3))
    assert found.shape == (SIDE, SIDE)
    assert found.dtype == np.float32
    assert (found.min(), found.max()) == (-1, 1)
    assert np.array_equal(found, draw(SIDE, np.random.default_rng(3)))
    assert not np.array_equal(found, draw(SIDE, np.random.default_rng(4)))


def test_photographs_come_from_those_that_may_teach() -> None:
    found = drawn_pictures.photograph(SIDE, np.random.default_rng(1))
    assert found.shape == (SIDE, SIDE)
    assert found.std() > 0.05


def test_a_blank_picture_stays_as_it_is_where_the_others_are_toned() -> None:
    pictures = torch.stack([torch.zeros(1, 8, 8), torch.linspace(0, 0.1, 64).view(1, 8, 8)])
    found = toned(pictures)
    assert torch.equal(found[0], torch.zeros(1, 8, 8))
    assert (float(found[1].min()), float(found[1].max())) == (-1, 1)


def test_each_radiograph_teaches_as_it_is_changed_and_as_something_else() -> None:
    rows = [Radiograph(image="one", label=0.0, patient=str(k)) for k in range(64)]
    pictures = Pictures(rows, lambda _: chest_like()[None], seed=1)
    (images, kinds), *rest = pictures
    assert not rest
    assert images.shape == (3 * 64, 1, SIDE, SIDE)
    assert kinds[:128].tolist() == [0] * 128
    assert 0 not in kinds[128:]
    assert len(set(kinds[128:].tolist())) >= 4


def test_the_head_learns_where_things_are_and_where_the_known_lie() -> None:
    torch.manual_seed(2)
    reader = Reader(EfficientNetLite()).eval()
    kinds = torch.arange(384) % len(SCOPE)
    maps = torch.rand(384, 112, 7, 7)
    maps[torch.arange(384), :, kinds, kinds] += 3  # each kind is bright in a place of its own
    teach(reader.scope.places, maps, kinds, seed=1)
    remember(reader.scope, spread_of(maps[kinds == 0]))
    with torch.inference_mode():
        scope, distance = reader.scope(maps)
        _, of_strangers = reader.scope(maps * 2)
    assert (scope.argmax(1) == kinds).float().mean() > 0.95
    assert float(distance[kinds == 0].mean()) < 2 < float(of_strangers.min())
