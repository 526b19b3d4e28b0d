"""A PACS that forwards everything to Lobar: results come back once and are not analysed."""

import copy
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from peers.orthanc import OrthancServer
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from support.lobar_process import LobarService, destination, wait_for
from support.system.http import HTTP
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.domain.job import JobState

pytestmark = [pytest.mark.orthanc]
FORWARD = """
function OnStoredInstance(id, tags, metadata, origin)
    SendToModality(id, 'lobar')
end
"""


@pytest.fixture
def router(tmp_path: Path) -> Iterator[OrthancServer]:
    """An Orthanc that forwards every instance, from any sender."""
    script = tmp_path / "forward.lua"
    script.write_text(FORWARD)
    scripts = [str(tmp_path / "only-from-loopback.lua"), str(script)]
    server = OrthancServer(tmp_path, options={"LuaScripts": scripts})
    server.start()
    yield server
    server.kill()


@pytest.fixture
def lobar(router: OrthancServer, tmp_path: Path) -> Iterator[LobarService]:
    wanted = destination(router, "router")
    wanted["outcomes"] = ["present", "absent", "indeterminate", "not_analysed"]
    wanted["outputs"] = ["sr", "overlay", "gsps", "pdf"]
    service = LobarService(tmp_path, [wanted])
    modality = {"AET": service.ae_title, "Host": service.host, "Port": service.dicom_port}
    HTTP.put(f"{router.http_url}/modalities/lobar", json=modality).raise_for_status()
    service.start()
    yield service
    service.kill()


def somebody_elses(report: Dataset) -> Dataset:
    """Return a report without Lobar's marks, like one of another product."""
    other = copy.deepcopy(report)
    for keyword in ("InstanceCreatorUID", "ContributingEquipmentSequence"):
        delattr(other, keyword)
    other.Manufacturer = "Somebody else"
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return other


def test_results_that_come_back_are_counted_and_not_analysed_and_so_are_reports_of_others(
    lobar: LobarService, router: OrthancServer
) -> None:
    source = make_cr()
    router.keep(part10(source))
    assert lobar.settled(source.SOPInstanceUID).state is JobState.DELIVERED
    wait_for(lambda: states(lobar) == [JobState.DELIVERED, *[JobState.NOT_ANALYSED] * 4])
    (report,) = (each for each in router.instances() if each["Modality"] == "SR")
    other = somebody_elses(dcmread(BytesIO(router.dicom_file(report["ID"]))))
    router.keep(part10(other))
    assert lobar.settled(other.SOPInstanceUID).reason == "not-an-image"

    counted = lobar.metrics()
    reason = 'lobar_not_analysed_total{reason="%s"}'
    assert counted[reason % "own-result"] == 4
    assert counted[reason % "not-an-image"] == 1
    assert len(router.instances()) == 6, "the image, four results, somebody else's report"
    assert len(states(lobar)) == 6
    assert lobar.balance() == 0


def states(lobar: LobarService) -> list[JobState]:
    jobs = lobar.all_jobs()
    return sorted(job.state for job in jobs)
