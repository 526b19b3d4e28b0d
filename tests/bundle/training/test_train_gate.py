"""The gate is trained on images in scope and out of scope, and learns to tell them apart."""

import torch
from scripts.data.datasets import Radiograph
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.network.ensemble import SCOPE_CLASSES, Ensemble, channel_statistics
from scripts.training.train_gate import GateImages, fit_distance, train_head

SIDE = 64


def asymmetric_image() -> torch.Tensor:
    """An image that is neither symmetric nor the same when rotated."""
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij"
    )
    return (0.6 * rows + 0.3 * columns + 0.2 * torch.sin(7 * columns)).clamp(-1, 1)


def test_each_radiograph_is_used_unchanged_and_augmented_and_out_of_scope() -> None:
    rows = [Radiograph(image="one", label=0.0, patient=str(k)) for k in range(64)]
    batches = GateImages(rows, lambda _: asymmetric_image()[None], seed=1)
    (images, classes), *rest = batches
    assert not rest
    assert images.shape == (3 * 64, 1, SIDE, SIDE)
    assert classes[:128].tolist() == [0] * 128
    assert 0 not in classes[128:]
    assert len(set(classes[128:].tolist())) >= 4


def test_the_head_learns_the_classes_and_the_distance_that_of_the_images_in_scope() -> None:
    torch.manual_seed(2)
    ensemble = Ensemble(EfficientNetLite()).eval()
    classes = torch.arange(384) % len(SCOPE_CLASSES)
    maps = torch.rand(384, 112, 7, 7)
    maps[torch.arange(384), :, classes, classes] += 3  # each class is bright in a place of its own
    train_head(ensemble.scope.places, maps, classes, seed=1)
    fit_distance(ensemble.scope, channel_statistics(maps[classes == 0]))
    with torch.inference_mode():
        scope, distance = ensemble.scope(maps)
        _, of_unfamiliar = ensemble.scope(maps * 2)
    assert (scope.argmax(1) == classes).float().mean() > 0.95
    assert float(distance[classes == 0].mean()) < 2 < float(of_unfamiliar.min())
