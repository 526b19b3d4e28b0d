"""A small bundle of another maker: MONAI's own DenseNet and transforms, without any script.

Or with one, which does what a bundle may do beyond that: more outputs, refusals, regions.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from monai.networks.nets import DenseNet

Change = Callable[[dict[str, Any]], object]
NETWORK: Final[dict[str, Any]] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "init_features": 4,
    "growth_rate": 2,
    "block_config": [1, 1],
    "bn_size": 2,
}


SCRIPT: Final = """
from monai.transforms import MapTransform
from torch.nn.functional import avg_pool2d


class RefusalError(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Watching:
    '''Return beside the logits how bright and how large each radiograph is.'''

    def __call__(self, images, network):
        return {
            "pred": network(images),
            "brightness": images.mean((1, 2, 3)).double(),
            "size": images.new_full((len(images), 2), images.shape[-1], dtype=int),
        }


class Attentive(Watching):
    '''Return a map too: its evidence for pneumonia is how bright each place is.'''

    def __call__(self, images, network):
        return {**super().__call__(images, network), "attention": avg_pool2d(images, 8) * 12 - 6}


class Gate(MapTransform):
    '''Refuse pictures brighter than any chest; name a region of the others.'''

    def __init__(self, keys, code="not-a-chest-radiograph", limit=0.5):
        super().__init__(keys)
        self.code, self.limit = code, limit

    def __call__(self, data):
        if data["brightness"] > self.limit:
            raise RefusalError(self.code)
        return {**data, "region": [0.25, 0, 0.5, data["size"][0] / 48]}


class ByAge:
    '''Name the population of a radiograph, and give the brightness as another abnormality.'''

    def __init__(self, limit=18):
        self.limit = limit

    def __call__(self, data):
        age = data["age_years"]
        group = "unknown" if age is None else "young" if age < self.limit else "old"
        return {**data, "population": group, "other": data["brightness"]}


class Inspect(MapTransform):
    '''Refuse blank pictures, before the network.'''

    def __call__(self, data):
        if data["image"].max() == data["image"].min():
            raise RefusalError("blank-image")
        return data
"""


def unchanged(_: dict[str, Any]) -> None:
    """Leave a bundle as it is made."""


def make_bundle(
    folder: Path, metadata: Change = unchanged, configuration: Change = unchanged
) -> Path:
    """Write a bundle that Lobar can use, with changes to its two configuration files."""
    torch.manual_seed(7)
    network = DenseNet(**NETWORK)
    with torch.no_grad():
        out = network.class_layers.out
        assert isinstance(out, torch.nn.Linear)
        out.weight.mul_(40)  # else every probability is nearly one half
        out.bias.sub_(network.eval()(torch.full((1, 1, 48, 48), 0.5))[0])
    (folder / "models").mkdir(parents=True)
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    described, configured = _metadata(folder / "models" / "model.pt"), _configuration()
    metadata(described)
    configuration(configured)
    (folder / "scripts").mkdir()
    (folder / "scripts" / "__init__.py").touch()
    (folder / "scripts" / "gate.py").write_text(SCRIPT)
    (folder / "configs").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps(described))
    (folder / "configs" / "inference.yaml").write_text(json.dumps(configured))
    return folder


def gated(configuration: dict[str, Any], **options: object) -> None:
    """Let the bundle use its script: outputs by name, refusals before and after the network."""
    configuration["inferer"] = {"_target_": "scripts.gate.Watching"}
    configuration["preprocessing"]["transforms"].insert(
        1, {"_target_": "scripts.gate.Inspect", "keys": "image"}
    )
    configuration["postprocessing"]["transforms"].append(
        {"_target_": "scripts.gate.Gate", "keys": "pred", **options}
    )


def attentive(configuration: dict[str, Any]) -> None:
    """Let the bundle use its script, and give a map of 6x6 places over the radiograph."""
    gated(configuration)
    configuration["inferer"] = {"_target_": "scripts.gate.Attentive"}


def populated(metadata: dict[str, Any]) -> None:
    """Let the metadata have populations, as `by_age` names them, and another abnormality.

    Only the young have an operating point of their own.
    """
    points = metadata["operating_points"]
    young = {
        name: {**point, "threshold": 0.4, "indeterminate": [0, 1]} for name, point in points.items()
    }
    metadata["other_abnormality"] = {"calibration": {"method": "none"}, "operating_points": points}
    metadata["populations"] = {
        "young": {"years": [0, 18], "validated": True, "operating_points": young},
        "old": {"years": [18, None], "validated": False, "reason": "No data."},
        "unknown": {"years": None, "validated": True, "calibration": {"method": "none"}},
    }


def by_age(configuration: dict[str, Any], **options: object) -> None:
    """Let the bundle use its script, and name populations."""
    gated(configuration)
    configuration["postprocessing"]["transforms"].append(
        {"_target_": "scripts.gate.ByAge", **options}
    )


def _metadata(weights: Path) -> dict[str, Any]:
    figures = {"sensitivity": 0.9, "specificity": 0.8}
    return {
        "name": "elsewhere_pneumonia",
        "version": "3.1",
        "intended_use": "Tests of Lobar.",
        "weights": {
            "path": "models/model.pt",
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        },
        "calibration": {"method": "platt", "bias": 0.1},
        "operating_points": {
            "balanced": {"threshold": 0.5, "indeterminate": [0.45, 0.55], **figures},
            "screening": {"threshold": 0.2, "indeterminate": [0.2, 0.2], **figures},
        },
        "default_operating_point": "balanced",
    }


def _configuration() -> dict[str, Any]:
    # by default MONAI's readers transpose a picture
    readers = (
        "$[monai.data.PILReader(reverse_indexing=False), monai.data.PydicomReader(swap_ij=False)]"
    )
    opens = [
        {
            "_target_": "LoadImaged",
            "keys": "image",
            "ensure_channel_first": True,
            "reader": readers,
        },
        {"_target_": "ScaleIntensityd", "keys": "image", "minv": 0, "maxv": 1},
    ]
    prepares = {"_target_": "Resized", "keys": "image", "spatial_size": [48, 48]}
    return {
        "imports": ["$import monai", "$import torch"],
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Compose", "transforms": opens}, prepares],
        },
        "network_def": {"_target_": "DenseNet", **NETWORK},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "Lambdad",
                    "keys": "pred",
                    "func": "$lambda logit: logit + @_meta_#calibration#bias",
                },
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            ],
        },
    }
