"""An Orthanc in a temporary folder, reachable from this machine only."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

import httpx
from child import StartError, running
from pydicom.dataset import Dataset

from service.demo.run import free_port

LOOPBACK: Final = "127.0.0.1"
HERE: Final = Path(__file__).resolve().parent
DICOMWEB_PLUGIN: Final = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")  # Debian's
BESIDE_PATH: Final = "/usr/sbin:/usr/local/sbin"  # not in an ordinary user's PATH


class Archive:
    """An Orthanc with DICOMweb, and its settings as a destination of Lobar."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._dicom_port, self._http_port = free_port(), free_port()
        self.url = f"http://{LOOPBACK}:{self._http_port}"

    @property
    def destination(self) -> dict[str, object]:
        """An entry of `LOBAR_DESTINATIONS`: the outputs that OHIF shows, for every outcome."""
        return {
            "name": "orthanc",
            "ae_title": "ORTHANC",
            "host": LOOPBACK,
            "port": self._dicom_port,
            "outputs": ["sr", "overlay", "pdf"],  # OHIF shows no presentation states
            "outcomes": ["present", "absent", "indeterminate", "not_analysed"],
        }

    @contextmanager
    def running(self) -> Iterator["Archive"]:
        """Run Orthanc within the `with` block.

        Raises:
            StartError: Orthanc or its plugin is not installed, or does not start.
        """
        program = shutil.which("Orthanc", path=f"{os.defpath}:{BESIDE_PATH}")
        if program is None or not DICOMWEB_PLUGIN.exists():
            raise StartError("Install the Debian packages orthanc and orthanc-dicomweb.")
        self._folder.mkdir()
        configuration = self._folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration()))
        with running(
            [program, configuration],
            log=self._folder / "orthanc.log",
            answers_at=f"{self.url}/dicom-web/studies",
        ):
            yield self

    def keep(self, instance: Dataset) -> None:
        """Store an instance, to which Lobar will add its outputs."""
        file = BytesIO()
        instance.save_as(file)
        httpx.post(f"{self.url}/instances", content=file.getvalue()).raise_for_status()

    def _configuration(self) -> dict[str, object]:
        storage = str(self._folder / "storage")
        return {
            **json.loads((HERE / "orthanc.json").read_text()),
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "Plugins": [str(DICOMWEB_PLUGIN)],
            "LuaScripts": [str(HERE / "only_from_loopback.lua")],
            "HttpPort": self._http_port,
            "DicomPort": self._dicom_port,
        }
