import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from service.dicom import implementation
from service.dicom.implementation import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    MANUFACTURER,
    VERSION,
    is_own_result,
)


def test_the_version_of_the_distribution_is_read_from_here() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())
    assert "version" not in pyproject["project"]
    source = pyproject["tool"]["setuptools"]["dynamic"]["version"]
    assert source == {"attr": f"{implementation.__name__}.VERSION"}
    assert importlib.metadata.version("lobar") == VERSION


def test_the_mark_never_changes_because_old_objects_bear_it() -> None:
    assert IMPLEMENTATION_CLASS_UID == "2.25.8334285600452653344769067718245633780"
    assert UID(IMPLEMENTATION_CLASS_UID).is_valid
    assert MANUFACTURER == "Lobar"


def test_the_implementation_version_name_fits_its_vr() -> None:
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16
    assert IMPLEMENTATION_VERSION_NAME.isascii()


def test_our_file_meta_information_is_known() -> None:
    meta = FileMetaDataset()
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    assert is_own_result(meta)


def test_an_instance_that_our_listener_wrote_to_disk_is_not_our_result() -> None:
    radiograph = Dataset()
    radiograph.Modality = "CR"
    radiograph.file_meta = FileMetaDataset()
    radiograph.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    assert not is_own_result(radiograph)


def test_a_result_is_known_by_its_instance_creator_alone() -> None:
    result = Dataset()
    result.InstanceCreatorUID = IMPLEMENTATION_CLASS_UID
    assert is_own_result(result)


def test_a_result_is_known_by_its_contributing_equipment_alone_wherever_it_stands() -> None:
    archive, ours = Dataset(), Dataset()
    archive.Manufacturer = "Some PACS"
    ours.Manufacturer = MANUFACTURER
    result = Dataset()
    result.ContributingEquipmentSequence = [archive, Dataset(), ours]
    assert is_own_result(result)


@pytest.mark.parametrize("manufacturer", ["Some PACS", "", "Lobar GmbH"])
def test_another_manufacturers_instance_is_not_recognised(manufacturer: str) -> None:
    equipment = Dataset()
    equipment.Manufacturer = manufacturer
    radiograph = Dataset()
    radiograph.Manufacturer = MANUFACTURER  # one is analysed even if a modality takes our name
    radiograph.InstanceCreatorUID = "1.2.3"
    radiograph.ContributingEquipmentSequence = [equipment]
    assert not is_own_result(radiograph)


def test_an_empty_header_is_not_recognised() -> None:
    assert not is_own_result(Dataset())
