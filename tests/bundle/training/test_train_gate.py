"""The gate is trained on images in scope and out of scope, and learns to tell them apart."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scripts.checksum import sha256_of
from scripts.data.datasets import Radiograph
from scripts.data.manifest import write_manifest
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.network.ensemble import SCOPE_CLASSES, Ensemble, ScopeHead, channel_statistics
from scripts.refusal import RefusalCode
from scripts.training.gate_images import DRAWN, GateImages
from scripts.training.train_gate import (
    MOST_OF_A_SOURCE,
    GateFeatures,
    answers,
    choose_limits,
    extract_features,
    films_to_choose_on,
    films_to_learn_from,
    fit,
    refused,
    restyled,
)
from support.module_process import run_module
from synthetic.pictures import chest

SIDE = 64


def asymmetric_image() -> torch.Tensor:
    """An image that is neither symmetric nor the same when rotated."""
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij"
    )
    return (0.6 * rows + 0.3 * columns + 0.2 * torch.sin(7 * columns)).clamp(-1, 1)


def films(
    source: str, count: int, part: str = "fold-1", category: str = "normal"
) -> list[Radiograph]:
    return [
        Radiograph(
            image=f"{source} {part} {k}",
            label=0.0,
            patient=str(k),
            cohort="adult",
            kind="",
            sha256=f"{source} {part} {k}",
            part=part,
            source=source,
            category=category,
        )
        for k in range(count)
    ]


def test_each_film_is_used_as_it_is_and_changed_and_two_are_made_of_it() -> None:
    images = GateImages(films("one", 64), lambda _: asymmetric_image()[None], seed=1)
    plain, *made, changed = images
    assert sum(len(batch.images) for batch in (plain, *made, changed)) == len(images) == 256
    assert set(plain.classes) | set(changed.classes) == {0}
    assert torch.equal(plain.images, asymmetric_image().expand(64, 1, SIDE, SIDE))
    assert float((changed.images - plain.images).abs().mean()) > 0.05
    codes = {SCOPE_CLASSES[number] for batch in made for number in batch.classes}
    assert codes == set(SCOPE_CLASSES)  # a thorax drawn from the front has no reason
    assert [batch.is_film for batch in (plain, *made, changed)] == [True, False, False, True]
    assert {source for batch in made for source in batch.sources} == {"one", DRAWN}


def test_a_film_that_is_listed_again_is_not_yielded_as_it_is_again() -> None:
    images = GateImages(films("one", 5) * 2, lambda _: asymmetric_image()[None], seed=1)
    assert [len(batch.images) for batch in images] == [5, 10, 10, 10]
    again = GateImages(films("one", 64) * 2, lambda _: asymmetric_image()[None], seed=1)
    assert len(list(again)) == 7


def test_no_source_weighs_much_more_than_the_others_and_none_is_for_measuring() -> None:
    few, many = films("nlm_montgomery", 60), films("pediatric", 2 * MOST_OF_A_SOURCE)
    rows = [
        *few,
        *many,
        *films("rsna2018", 3, "rsna-test"),
        *films("adult_covid", 3, "measuring"),
        *films("lateral", 3, "measuring", "left-out"),
        *films("nih_emily", 3, "fold-0", "left-out"),
        *films("pediatric", 3, "test"),
        *films("pediatric", 3, "validation"),
    ]
    chosen = films_to_learn_from(rows)
    assert len(chosen) == 2 * len(few) + MOST_OF_A_SOURCE
    assert {row["part"] for row in chosen} == {"fold-1"}
    assert {row["source"] for row in chosen} == {"nlm_montgomery", "pediatric"}
    assert chosen == films_to_learn_from(reversed(rows))
    assert {row["source"] for row in films_to_learn_from(rows, without="pediatric")} == {
        "nlm_montgomery"
    }
    assert {row["part"] for row in films_to_choose_on(rows)} == {"validation"}


def test_a_manifest_without_a_training_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="no film in a training fold"):
        films_to_learn_from(films("rsna2018", 3, "rsna-test"))


@pytest.fixture(scope="module")
def features() -> GateFeatures:
    """Maps in which each class is bright in a place of its own."""
    torch.manual_seed(2)
    classes = torch.arange(768) % len(SCOPE_CLASSES)
    maps = torch.rand(768, 112, 7, 7)
    maps[torch.arange(768), :, classes, classes] += 3
    sources = np.array(["one", "two"])[np.arange(768) // 6 % 2]
    return GateFeatures(
        maps=maps.bfloat16(),
        statistics=channel_statistics(maps),
        classes=classes,
        sources=sources,
        is_film=classes == 0,
    )


def test_the_head_learns_the_classes_and_the_distance_that_of_the_images_in_scope(
    features: GateFeatures,
) -> None:
    torch.manual_seed(2)
    head = Ensemble(EfficientNetLite()).scope.eval()
    fit(head, features)
    with torch.inference_mode():
        scope, distance = head(features.maps.float())
        _, of_unfamiliar = head(features.maps.float() * 2)
    in_scope = features.classes == 0
    assert (scope.argmax(1) == features.classes).float().mean() > 0.95
    assert float(distance[in_scope].mean()) < 2 < float(of_unfamiliar.min())
    shares, distances = answers(head, features)
    assert shares == pytest.approx(scope.softmax(1)[:, 0].numpy(), abs=1e-4)
    assert distances == pytest.approx(distance[:, 0].numpy(), rel=0.1)  # the maps are rounded

    chosen = GateFeatures(
        maps=features.maps[in_scope],
        statistics=features.statistics[in_scope],
        classes=features.classes[in_scope],
        sources=features.sources[in_scope.numpy()],
        is_film=features.is_film[in_scope],
    )
    limits = choose_limits(head, chosen)
    assert refused(head, chosen, limits) <= 1
    others = limits["images"] * (len(SCOPE_CLASSES) - 1)
    assert refused(head, features, limits) >= 0.95 * others


class Told(ScopeHead):
    """A double: its answers are what the maps' first cell says."""

    def __init__(self) -> None:
        super().__init__()
        self.places = FirstCell()

    def distances(self, statistics: torch.Tensor) -> torch.Tensor:
        return statistics[:, :1]


class FirstCell(torch.nn.Sequential):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(maps), 2)
        logits[:, 0] = maps[:, 0, 0, 0].logit()
        return logits


def test_the_large_source_that_would_lose_most_films_sets_the_limits() -> None:
    shares = torch.cat([torch.linspace(0.5, 0.9, 1000), torch.linspace(0.2, 0.9, 1000)])
    shares = torch.cat([shares, torch.tensor([0.01] + [0.9] * 9 + [0.8] * 190)])
    sources = ["one"] * 1000 + ["two"] * 1000 + ["few"] * 10 + ["more"] * 190
    features = GateFeatures(
        maps=shares[:, None, None, None].expand(-1, 112, 7, 7),
        statistics=2 - shares[:, None],
        classes=torch.zeros(len(shares), dtype=torch.long),
        sources=np.array(sources),
        is_film=torch.ones(len(shares), dtype=torch.bool),
    )
    limits = choose_limits(Told(), features)
    assert limits["least_in_scope"] == pytest.approx(0.2035, abs=0.001)  # "two"
    assert limits["largest_distance"] == pytest.approx(2 * 1.7986, abs=0.002)
    assert refused(Told(), features, limits) == 6  # 5 of "two", and the one of the 200


def test_a_drawn_chest_gets_the_style_of_a_film_and_keeps_its_layout() -> None:
    torch.manual_seed(3)
    maps = torch.randn(3, 4, 7, 7)
    maps[2] = maps[2] * 5 + 9
    chosen, films_ = torch.tensor([True, False, False]), torch.tensor([False, False, True])
    found = restyled(maps, chosen, films_)
    assert torch.equal(found[1:], maps[1:])
    assert found[0].mean((1, 2)).numpy() == pytest.approx(maps[2].mean((1, 2)).numpy(), rel=0.01)
    assert found[0].std((1, 2)).numpy() == pytest.approx(maps[2].std((1, 2)).numpy(), rel=0.05)
    pairs = torch.stack([found[0, 0].flatten(), maps[0, 0].flatten()])
    assert float(torch.corrcoef(pairs)[0, 1]) == pytest.approx(1, abs=1e-4)
    nothing = torch.zeros(3, dtype=torch.bool)
    assert torch.equal(restyled(maps, nothing, films_), maps)
    assert torch.equal(restyled(maps, chosen, nothing), maps)


def test_chests_that_were_made_or_drawn_are_restyled_and_nothing_else() -> None:
    lateral = SCOPE_CLASSES.index(RefusalCode.LATERAL)
    features = GateFeatures(
        maps=torch.zeros(4, 112, 7, 7),
        statistics=torch.zeros(4, 224),
        classes=torch.tensor([0, 0, lateral, 1]),
        sources=np.array(["one"] * 4),
        is_film=torch.tensor([True, False, False, False]),
    )
    assert features.is_restyled.tolist() == [False, True, True, False]


def test_features_are_those_of_the_networks_middle_maps() -> None:
    torch.manual_seed(5)
    ensemble = Ensemble(EfficientNetLite()).eval()
    image = asymmetric_image()[None]
    images = GateImages(films("one", 2), lambda _: image, learned=False, seed=1)
    found = extract_features(ensemble, images, len(images))
    with torch.inference_mode():
        expected = channel_statistics(ensemble.middle(image[None]))
    assert found.statistics.shape == (2, 224)
    assert found.sources.tolist() == ["one", "one"]
    assert torch.nn.functional.cosine_similarity(found.statistics, expected).min() > 0.99


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle beside 24 pictures of two sources and their manifest."""
    folder = tmp_path / "bundle"
    for name in ("configs", "models", "scripts"):
        shutil.copytree(bundle / name, folder / name)
    parts = ("fold-0", "fold-1", "validation")
    rows = [
        row
        for source in ("rsna2018", "nlm_shenzhen")
        for part in parts
        for row in films(source, 4, part)
    ]
    for number, row in enumerate(rows):
        row["image"] = str(tmp_path / f"{number}.png")
        Image.fromarray(chest(90 + number, 120, 8).astype("u1")).save(row["image"])
    write_manifest(rows, tmp_path / "manifest.csv")
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / "models" / "model.pt"
    found: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def scope_of(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "configs" / "metadata.json").read_text())[
        "scope"
    ]
    return found


@pytest.mark.slow
def test_the_command_replaces_the_gate_and_nothing_else(copied: Path) -> None:
    before, limits = weights(copied), scope_of(copied)
    command = ("scripts.training.train_gate", "--manifest", "../manifest.csv")
    measured = run_module(copied, *command, "--leave-out", "nlm_shenzhen")
    assert measured.returncode == 0, measured.stderr
    assert re.search(r"^nlm_shenzhen: \d+ of 12 refused$", measured.stdout, re.MULTILINE)
    assert scope_of(copied) == limits

    done = run_module(copied, *command)
    assert done.returncode == 0, done.stderr
    after = weights(copied)
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("scope.")}
    assert scope_of(copied)["images"] == 8
    described = json.loads((copied / "configs" / "metadata.json").read_text())["weights"]
    assert described["sha256"] == sha256_of(copied / "models" / "model.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--leave-out", "nowhere"), "no source is named nowhere"),
        (("--every", "0"), "every is 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    copied: Path, arguments: tuple[str, ...], message: str
) -> None:
    command = ("scripts.training.train_gate", "--manifest", "../manifest.csv")
    done = run_module(copied, *command, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
