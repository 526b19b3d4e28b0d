"""Fixtures: the bundle's folder on the import path, and its preprocessing as a function."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from pydicom.dataset import Dataset
from support.importable_bundle import the_bundle_that_was_importable_before
from synthetic.part10 import part10

__all__ = ["the_bundle_that_was_importable_before"]

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
if str(BUNDLE) not in sys.path:
    sys.path.insert(1, str(BUNDLE))

Prepare = Callable[[bytes | Dataset], torch.Tensor]


@pytest.fixture(scope="session")
def bundle() -> Path:
    return BUNDLE


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """The preprocessing of configs/inference.yaml, for a data set or a file's bytes: 1xHxW."""
    config = ConfigParser()
    config.read_config(str(BUNDLE / "configs" / "inference.yaml"))
    config.parse()
    preprocessing = config.get_parsed_content("preprocessing")

    def of(given: bytes | Dataset) -> torch.Tensor:
        path = tmp_path / "given"
        path.write_bytes(given if isinstance(given, bytes) else part10(given))
        return preprocessing({"image": str(path)})["image"]

    return of


@pytest.fixture(scope="session")
def as_file() -> Callable[[Dataset], bytes]:
    return part10
