"""The gateway between a browser and an Orthanc: it allows reading only."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from peers.orthanc import OrthancServer
from peers.viewer import ViewerGateway
from support.system.http import HTTP
from synthetic.objects import make_cr

pytestmark = pytest.mark.orthanc


@pytest.fixture
def gateway(orthanc_dicomweb: OrthancServer, tmp_path: Path) -> Iterator[ViewerGateway]:
    """A gateway with two files for an OHIF, in front of an Orthanc that keeps a radiograph."""
    (tmp_path / "secret.txt").write_text("not to be served")
    ohif = tmp_path / "ohif"
    ohif.mkdir()
    (ohif / "index.html").write_text("start page")
    (ohif / "app-config.js").write_text("// names a public server")
    file = BytesIO()
    make_cr(rows=8, columns=8).save_as(file, enforce_file_format=True)
    orthanc_dicomweb.keep(file.getvalue())
    running = ViewerGateway(tmp_path, orthanc_dicomweb, ohif)
    running.start()
    yield running
    running.stop()


def test_routes_of_the_viewer_get_its_start_page_and_missing_files_are_not_found(
    gateway: ViewerGateway,
) -> None:
    for place in ("/", "/viewer?StudyInstanceUIDs=1.2.3"):
        assert HTTP.get(f"{gateway.url}{place}").text == "start page"
    assert HTTP.get(f"{gateway.url}/missing.js").status_code == httpx.codes.NOT_FOUND


def test_nothing_outside_the_viewer_is_served(gateway: ViewerGateway) -> None:
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"):
        # the raw path, which httpx would tidy up in a URL
        url = httpx.URL(gateway.url).copy_with(raw_path=path.encode())
        assert "not to be served" not in HTTP.get(url).text


def test_the_configuration_is_lobar_s_and_names_no_other_host(gateway: ViewerGateway) -> None:
    configuration = HTTP.get(f"{gateway.url}/app-config.js").text
    assert "dicomweb" in configuration
    assert "://" not in configuration


def test_orthanc_s_responses_refer_to_the_gateway(
    gateway: ViewerGateway, orthanc_dicomweb: OrthancServer
) -> None:
    (study,) = HTTP.get(f"{gateway.url}/dicom-web/studies").json()
    (address,) = study["00081190"]["Value"]  # Retrieve URL
    assert address.startswith(f"{gateway.url}/dicom-web/")
    (instance,) = HTTP.get(f"{address}/metadata").json()
    assert instance["00280010"]["Value"] == [8]
    assert orthanc_dicomweb.http_url not in str(instance)


def test_nothing_can_be_stored_or_removed(
    gateway: ViewerGateway, orthanc_dicomweb: OrthancServer
) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = HTTP.request(method, f"{gateway.url}/dicom-web/studies")
        assert answer.status_code == httpx.codes.METHOD_NOT_ALLOWED
    assert len(orthanc_dicomweb.instances()) == 1


def test_a_request_for_another_host_name_is_refused(gateway: ViewerGateway) -> None:
    # another site's page whose name resolves to this address (DNS rebinding)
    answer = HTTP.get(f"{gateway.url}/dicom-web/studies", headers={"Host": "evil.example"})
    assert answer.status_code == httpx.codes.BAD_REQUEST


def test_an_unreachable_orthanc_is_a_bad_gateway(
    gateway: ViewerGateway, orthanc_dicomweb: OrthancServer
) -> None:
    orthanc_dicomweb.stop()
    answer = HTTP.get(f"{gateway.url}/dicom-web/studies")
    assert answer.status_code == httpx.codes.BAD_GATEWAY
