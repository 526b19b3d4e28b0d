"""What the members compute for a cache is kept once for each network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.network.ensemble import Ensemble
from scripts.training.adults.features import keep_features, read_features
from scripts.training.heads.cache import Films
from scripts.training.heads.table import FilmTable

SIDE = 64


@pytest.fixture(scope="module")
def films() -> Films:
    """Two films of children around one of an adult."""
    blank = np.full(3, "")
    table = FilmTable(
        sha256=np.array(["a", "b", "c"]),
        source=np.array(["pediatric", "rsna2018", "pediatric"]),
        category=np.full(3, "normal"),
        patient=np.array(["a", "b", "c"]),
        view=blank,
        sex=blank,
        age_group=blank,
        part=blank,
        film=blank,
    )
    levels = np.random.default_rng(1).integers(0, 255, (3, SIDE, SIDE)).astype("u1")
    return Films(table=table, levels=levels, places=np.arange(3))


def network(seed: int) -> Ensemble:
    torch.manual_seed(seed)
    return Ensemble(EfficientNetLite(), members=2).eval()


def test_features_are_the_members_and_maps_those_of_adults(films: Films, tmp_path: Path) -> None:
    ensemble = network(1)
    found = keep_features(ensemble, films, tmp_path / "features", "digest")
    with torch.inference_mode():
        wanted = ensemble.read_members(films.images(np.arange(3)))
    assert found.pooled == pytest.approx(wanted.last.mean((2, 3)).numpy(), abs=1e-2)
    assert found.logits == pytest.approx(wanted.activation.mean((2, 3)).numpy(), abs=1e-3)
    assert list(found.adults) == [1]
    assert found.last == pytest.approx(wanted.last[1:2].numpy(), abs=1e-2)
    assert found.middle == pytest.approx(wanted.middle[1:2].numpy(), rel=1e-2, abs=2e-2)


def test_a_complete_folder_is_not_computed_again_unless_the_weights_are_others(
    films: Films, tmp_path: Path
) -> None:
    first = np.array(keep_features(network(1), films, tmp_path, "one").logits)
    same = np.array(keep_features(network(2), films, tmp_path, "one").logits)
    assert np.array_equal(first, same)
    other = np.array(keep_features(network(2), films, tmp_path, "two").logits)
    assert not np.allclose(first, other)


def test_a_folder_that_is_not_complete_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no complete features"):
        read_features(tmp_path)
