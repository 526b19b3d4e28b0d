"""Pretrained weights are checked, loaded where they fit, and reported."""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.training.pretrained import load_pretrained, rename_published
from torch import Tensor, nn

PLACES = {  # by position in InvertedBottleneck.layers
    0: "expand_conv",
    1: "bn0",
    3: "depthwise_conv",
    4: "bn1",
    6: "project_conv",
    7: "bn2",
}
OUTSIDE = {
    "stem.0": "_conv_stem",
    "stem.1": "_bn0",
    "head.0": "_conv_head",
    "head.1": "_bn1",
    "classifier": "_fc",
}


def published_name(name: str) -> str:
    """The name of a tensor in EfficientNet-Lite's published files."""
    module, _, tensor = name.rpartition(".")
    if match := re.fullmatch(r"blocks\.(\d+)\.layers\.(\d)", module):
        slot = int(match[2]) + (3 if match[1] == "0" else 0)  # the first block expands nothing
        return f"_blocks.{match[1]}._{PLACES[slot]}.{tensor}"
    return f"{OUTSIDE[module]}.{tensor}"


@pytest.fixture
def theirs() -> dict[str, Tensor]:
    """A state_dict under the published names: three colours, 1,000 classes, other numbers."""
    torch.manual_seed(7)
    state = {
        published_name(name): torch.rand_like(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in EfficientNetLite().state_dict().items()
    }
    state["_conv_stem.weight"] = torch.rand(32, 3, 3, 3)
    state["_fc.weight"], state["_fc.bias"] = torch.rand(1000, 1280), torch.rand(1000)
    return state


def saved(state: object, folder: Path) -> tuple[Path, str]:
    path = folder / "theirs.pth"
    torch.save(state, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_published_names_are_as_expected(theirs: dict[str, Tensor]) -> None:
    assert theirs["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert theirs["_blocks.0._bn2.running_mean"].shape == (16,)
    assert theirs["_blocks.1._expand_conv.weight"].shape == (96, 16, 1, 1)
    assert theirs["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)


def test_published_names_are_renamed_one_to_one(theirs: dict[str, Tensor]) -> None:
    ours = rename_published(theirs)
    assert set(ours) == set(EfficientNetLite().state_dict())
    assert all(ours[name] is theirs[published_name(name)] for name in ours)


def test_published_weights_are_loaded_and_their_colours_summed_to_one_channel(
    theirs: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, digest = saved(theirs, tmp_path)
    fresh = EfficientNetLite()
    classifier = fresh.classifier.weight.clone()
    state = load_pretrained(fresh, path, digest).state_dict()
    for name, tensor in state.items():
        if name.startswith("classifier"):
            continue
        given = theirs[published_name(name)]
        assert torch.equal(tensor, given.sum(1, keepdim=True) if name == "stem.0.weight" else given)
    assert torch.equal(state["classifier.weight"], classifier)
    assert capsys.readouterr().out == (
        f"pretrained: {len(state) - 2} of {len(state)} tensors from theirs.pth "
        f"(sha256 {digest[:16]}); random: classifier.bias, classifier.weight\n"
    )


def test_a_stem_of_one_channel_computes_the_same_as_three_equal_colours(
    theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    network = load_pretrained(EfficientNetLite(), saved(theirs, tmp_path)[0])
    grey = torch.rand(1, 1, 8, 8)
    colour = nn.functional.conv2d(
        nn.functional.pad(grey.expand(1, 3, 8, 8), (0, 1, 0, 1)),
        theirs["_conv_stem.weight"],
        stride=2,
    )
    torch.testing.assert_close(network.stem[0](grey), colour)


def test_weights_of_the_same_network_are_loaded_completely(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = EfficientNetLite()
    network = load_pretrained(EfficientNetLite(), saved(source.state_dict(), tmp_path)[0])
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name]), name
    assert capsys.readouterr().out.endswith("random: none\n")


def test_without_a_path_random_weights_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    network = EfficientNetLite()
    before = network.classifier.weight.clone()
    assert torch.equal(load_pretrained(network, None).classifier.weight, before)
    assert capsys.readouterr().out == "pretrained: none, the network starts from random weights\n"


def test_a_file_with_another_digest_is_refused_before_it_is_unpickled(tmp_path: Path) -> None:
    (tmp_path / "theirs.pth").write_bytes(b"not even weights")
    with pytest.raises(ValueError, match=r"has the SHA-256 [0-9a-f]{64}, not 00"):
        load_pretrained(EfficientNetLite(), tmp_path / "theirs.pth", "00")


class Dangerous:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit",))


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        (nn.Linear(2, 2).state_dict(), "0 of 296 tensors fit: it belongs to another network"),
        ({"_blocks.0._se_reduce.weight": torch.zeros(1)}, "belongs to another network"),
        ({"network": {"stem.0.weight": torch.zeros(1)}, "epoch": 3}, "belongs to another network"),
        ([torch.zeros(1)], "contains no state_dict"),
        (Dangerous(), "no weights that are safe to load"),
    ],
    ids=["layer", "squeeze", "checkpoint", "list", "code"],
)
def test_weights_of_another_network_are_refused_in_one_line(
    state: object, complaint: str, tmp_path: Path
) -> None:
    network = EfficientNetLite()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=complaint) as raised:
        load_pretrained(network, saved(state, tmp_path)[0])
    assert "\n" not in str(raised.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_file_that_is_not_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    for content in (b"", b"<html>", b"PK\x03\x04 broken"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ValueError, match="no weights that are safe to load"):
            load_pretrained(EfficientNetLite(), tmp_path / "file")
