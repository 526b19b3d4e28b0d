"""A real PACS: Orthanc with its own configuration, storage folder and ports."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from support.system.http import HTTP
from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server
from support.system.programs import missing, need_program

# Orthanc 1.10 cannot bind to one address. It refuses HTTP from elsewhere (RemoteAccessAllowed) and
# C-FIND, C-MOVE and C-GET from every host; this refuses instances from elsewhere. STOW-RS answers
# that it stored what this refused.
ONLY_FROM_LOOPBACK: Final = f"""
function ReceivedInstanceFilter(dicom, origin, info)
    local from = origin['RequestOrigin']
    return origin['RemoteIp'] == '{LOOPBACK}' or from == 'RestApi' or from == 'Plugins'
end
"""

DICOMWEB_PLUGIN: Final = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")  # of Debian
DICOMWEB_OPTIONS: Final = {
    "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
}


class OrthancServer:
    """An Orthanc that accepts every instance from this machine.

    `plugins` are libraries it loads; `options` go above its configuration, key by key.
    """

    ae_title: Final = "ORTHANC"
    host: Final = LOOPBACK

    def __init__(
        self,
        folder: Path,
        *,
        plugins: Sequence[Path] = (),
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.dicom_port = free_port()
        http_port = free_port()
        self.http_url = f"http://{self.host}:{http_port}"
        filter_file = folder / "only-from-loopback.lua"
        filter_file.write_text(ONLY_FROM_LOOPBACK)
        configuration_file = folder / "orthanc.json"
        configuration = self._configuration(folder, http_port)
        configuration["Plugins"] = [str(plugin) for plugin in plugins]
        configuration_file.write_text(json.dumps({**configuration, **(options or {})}))
        self._server = Server(
            [need_program("Orthanc"), configuration_file],
            log=folder / "orthanc.log",
            answers=lambda: accepts_connections(http_port) and accepts_connections(self.dicom_port),
        )
        self.start = self._server.start
        self.stop = self._server.stop
        self.kill = self._server.kill

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._server.running

    @property
    def dicomweb_url(self) -> str:
        """The base URL of QIDO-RS, WADO-RS and STOW-RS, if their plugin is loaded."""
        return f"{self.http_url}/dicom-web"

    def instances(self) -> list[dict[str, Any]]:
        """List every stored instance: its elements by keyword, and Orthanc's identifier as `ID`."""
        return [
            {"ID": instance_id, **self._get(f"/instances/{instance_id}/simplified-tags").json()}
            for instance_id in self._get("/instances").json()
        ]

    def dicom_file(self, instance_id: str) -> bytes:
        """Return a stored instance as a DICOM file; `instance_id` is an `ID` of `instances`."""
        return self._get(f"/instances/{instance_id}/file").content

    def keep(self, dicom_file: bytes) -> None:
        """Store an instance over Orthanc's own API, without a DICOM sender."""
        HTTP.post(f"{self.http_url}/instances", content=dicom_file).raise_for_status()

    def reset(self) -> None:
        """Delete all stored instances."""
        for patient_id in self._get("/patients").json():
            HTTP.delete(f"{self.http_url}/patients/{patient_id}").raise_for_status()

    def _get(self, path: str) -> httpx.Response:
        return HTTP.get(f"{self.http_url}{path}").raise_for_status()

    def _configuration(self, folder: Path, http_port: int) -> dict[str, object]:
        return {
            "Name": "Lobar's tests",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "LuaScripts": [str(folder / "only-from-loopback.lua")],
            "HttpPort": http_port,
            "HttpThreadsCount": 4,
            "OrthancExplorerEnabled": False,
            "WebDavEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomPort": self.dicom_port,
            "DicomAet": self.ae_title,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "StableAge": 1,
        }


@pytest.fixture(scope="session")
def _shared_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    server = OrthancServer(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.kill()


@pytest.fixture
def orthanc(_shared_orthanc: OrthancServer) -> OrthancServer:
    """A running, empty Orthanc; a test may stop, start or kill it. Mark the test `orthanc`."""
    _shared_orthanc.start()
    _shared_orthanc.reset()
    return _shared_orthanc


def need_dicomweb_plugin() -> Path:
    """Return Orthanc's plugin for DICOMweb; without it skip the test, or fail it when CI=true."""
    if not DICOMWEB_PLUGIN.exists():
        missing(f"no {DICOMWEB_PLUGIN.name} here: install the Debian package orthanc-dicomweb")
    return DICOMWEB_PLUGIN


def dicomweb_orthanc(folder: Path) -> OrthancServer:
    """Create an Orthanc with DICOMweb, not yet started."""
    return OrthancServer(folder, plugins=[need_dicomweb_plugin()], options=DICOMWEB_OPTIONS)


@pytest.fixture(scope="session")
def _shared_orthanc_dicomweb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    server = dicomweb_orthanc(tmp_path_factory.mktemp("orthanc-dicomweb"))
    yield server
    server.kill()


@pytest.fixture
def orthanc_dicomweb(_shared_orthanc_dicomweb: OrthancServer) -> OrthancServer:
    """The same with DICOMweb at `dicomweb_url`. Mark the test `orthanc`."""
    _shared_orthanc_dicomweb.start()
    _shared_orthanc_dicomweb.reset()
    return _shared_orthanc_dicomweb
