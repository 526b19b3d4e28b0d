"""Starting from weights that learnt something else: checked, fitted, and told."""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.training.pretrained import pretrained, renamed
from torch import Tensor, nn

PLACES = {  # of the layers of one of our blocks
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
    """What EfficientNet-Lite's published files call one of our tensors."""
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


def test_the_published_names_are_these(theirs: dict[str, Tensor]) -> None:
    assert theirs["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert theirs["_blocks.0._bn2.running_mean"].shape == (16,)
    assert theirs["_blocks.1._expand_conv.weight"].shape == (96, 16, 1, 1)
    assert theirs["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)


def test_published_names_become_ours_one_for_one(theirs: dict[str, Tensor]) -> None:
    ours = renamed(theirs)
    assert set(ours) == set(EfficientNetLite().state_dict())
    assert all(ours[name] is theirs[published_name(name)] for name in ours)


def test_published_weights_are_loaded_and_the_colours_summed_to_grey(
    theirs: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, digest = saved(theirs, tmp_path)
    fresh = EfficientNetLite()
    classifier = fresh.classifier.weight.clone()
    state = pretrained(fresh, path, digest).state_dict()
    for name, tensor in state.items():
        if name.startswith("classifier"):
            continue
        given = theirs[published_name(name)]
        assert torch.equal(tensor, given.sum(1, keepdim=True) if name == "stem.0.weight" else given)
    assert torch.equal(state["classifier.weight"], classifier)
    assert capsys.readouterr().out == (
        f"pretrained: {len(state) - 2} of {len(state)} tensors from theirs.pth "
        f"(sha256 {digest[:16]}); from chance: classifier.bias, classifier.weight\n"
    )


def test_a_grey_stem_answers_as_three_equal_colours_did(
    theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    network = pretrained(EfficientNetLite(), saved(theirs, tmp_path)[0])
    grey = torch.rand(1, 1, 8, 8)
    colour = nn.functional.conv2d(
        nn.functional.pad(grey.expand(1, 3, 8, 8), (0, 1, 0, 1)),
        theirs["_conv_stem.weight"],
        stride=2,
    )
    torch.testing.assert_close(network.stem[0](grey), colour)


def test_weights_of_the_same_network_are_loaded_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = EfficientNetLite()
    network = pretrained(EfficientNetLite(), saved(source.state_dict(), tmp_path)[0])
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name]), name
    assert capsys.readouterr().out.endswith("from chance: none\n")


def test_without_a_path_chance_is_said_to_be_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    network = EfficientNetLite()
    before = network.classifier.weight.clone()
    assert torch.equal(pretrained(network, None).classifier.weight, before)
    assert capsys.readouterr().out == "pretrained: none, the network starts from chance\n"


def test_another_file_than_promised_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "theirs.pth").write_bytes(b"not even weights")
    with pytest.raises(ValueError, match=r"has the SHA-256 [0-9a-f]{64}, not 00"):
        pretrained(EfficientNetLite(), tmp_path / "theirs.pth", "00")


class Dangerous:
    """Would run a command of the file's choosing where pickles are trusted."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit",))


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        (nn.Linear(2, 2).state_dict(), "0 of 296 tensors fit: another network's"),
        ({"_blocks.0._se_reduce.weight": torch.zeros(1)}, "another network's"),
        ({"network": {"stem.0.weight": torch.zeros(1)}, "epoch": 3}, "another network's"),
        ([torch.zeros(1)], "holds no state_dict"),
        (Dangerous(), "no weights that are safe to load"),
    ],
    ids=["layer", "squeeze", "checkpoint", "list", "code"],
)
def test_another_networks_file_is_refused_in_one_line(
    state: object, complaint: str, tmp_path: Path
) -> None:
    network = EfficientNetLite()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=complaint) as raised:
        pretrained(network, saved(state, tmp_path)[0])
    assert "\n" not in str(raised.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_file_of_something_else_is_refused_in_one_line(tmp_path: Path) -> None:
    for content in (b"", b"<html>", b"PK\x03\x04 broken"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ValueError, match="no weights that are safe to load"):
            pretrained(EfficientNetLite(), tmp_path / "file")
