"""What real archives make of our objects: kept as they are, in the source's study, found again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers.dcmtk import QueryRetrieveSCP
from peers.dicomweb import query, retrieve, values
from peers.orthanc import DICOMWEB_OPTIONS, OrthancServer, need_dicomweb_plugin
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from synthetic.report_sources import NAMES, NOW, predicted, radiograph

from service.domain.routing import OutputKind
from service.settings import DimseDestination, WebDestination
from workers.delivery.dimse import associate
from workers.delivery.stored_output import NoResponseError
from workers.delivery.stow_rs import open_service
from workers.reporting.output import Output, as_comprehensive
from workers.reporting.outputs import make_outputs
from workers.reporting.uids import OutputIdentity

CALLING = "LOBAR"
UNREADABLE = ("one that nobody knows", "none, and bytes that need one", "no term at all")
READABLE = sorted(NAMES.keys() - set(UNREADABLE))
STUDY, SERIES, MODALITY, NAME, INSTANCE = (
    *("0020000D", "0020000E", "00080060", "00100010"),
    "00080018",
)
STRICT = {
    "StrictAetComparison": True,
    "DicomCheckCalledAet": True,
    "DicomAlwaysAllowStore": False,
    "DicomAlwaysAllowEcho": False,
    "UnknownSopClassAccepted": False,
    "DicomModalities": {"lobar": {"AET": CALLING, "Host": "127.0.0.1", "Port": 1}},
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "keeps the first": {"OverwriteInstances": False},
    "keeps the last": {"OverwriteInstances": True},
    "strict": STRICT,
}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OrthancServer]:
    """An Orthanc of each configuration; in UTF-8, or its answers could not hold every name."""
    chosen = {**DICOMWEB_OPTIONS, "DefaultEncoding": "Utf8", **CONFIGURATIONS[request.param]}
    server = OrthancServer(
        tmp_path_factory.mktemp("archive"), plugins=[need_dicomweb_plugin()], options=chosen
    )
    server.start()
    yield server
    server.kill()


def source(names: str) -> Dataset:
    """A radiograph of a patient and in a study of its own."""
    number = list(NAMES).index(names)
    own = {"StudyInstanceUID": f"1.2.826.0.1.{number}", "SOPInstanceUID": f"1.2.826.0.2.{number}"}
    with_own: dict[str, Any] = {keyword: value.encode() for keyword, value in own.items()}
    return radiograph(names=names, PatientID=f"PID-{number}".encode(), **with_own)


def outputs(names: str, identity: OutputIdentity = OutputIdentity()) -> list[Output]:  # noqa: B008 -- frozen
    """Every output of a radiograph, and the Comprehensive SR fallback of its report."""
    picture = np.linspace(0, 1, 300 * 200, dtype=np.float32).reshape(300, 200)
    header = source(names)
    made = make_outputs(
        header, picture, predicted(), kinds=frozenset(OutputKind), now=NOW, identity=identity
    )
    everything = list(made)
    assert {each.kind for each in everything} == set(OutputKind)
    (report,) = (each for each in everything if each.kind is OutputKind.SR)
    return [*everything, as_comprehensive(report)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Path]]:
    """`kept(names)` gives the files of all objects about a radiograph with such names."""
    made: dict[str, list[Path]] = {}

    def keep(names: str) -> list[Path]:
        if names not in made:
            folder = tmp_path_factory.mktemp("outbox")
            made[names] = [folder / f"{number}.dcm" for number in range(5)]
            for file, output in zip(made[names], outputs(names), strict=True):
                file.write_bytes(output.encode())
        return made[names]

    return keep


def store(peer: OrthancServer | QueryRetrieveSCP, files: list[Path]) -> list[int]:
    """Store as the deliver worker does, over one association; gives the statuses."""
    port = peer.dicom_port if isinstance(peer, OrthancServer) else peer.port
    destination = DimseDestination(
        name="archive", ae_title=peer.ae_title, host=peer.host, port=port, response_seconds=20
    )
    classes = [str(read_file_meta_info(file).MediaStorageSOPClassUID) for file in files]
    with associate(destination, CALLING, classes) as sender:
        return [sender.send(file).status for file in files]


def data_set(file: bytes) -> bytes:
    """The bytes behind the file meta information, which is for each archive to write."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


def names_in(found: Dataset | dict[str, str]) -> str:
    """A patient's name of QIDO-RS, as pydicom writes one."""
    groups = [found.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
    return "=".join(groups).rstrip("=")


# Orthanc


@pytest.mark.orthanc
@pytest.mark.parametrize("names", NAMES)
def test_orthanc_keeps_all_outputs_as_they_are_in_the_study_of_their_source(
    archive: OrthancServer, kept: Callable[..., list[Path]], names: str
) -> None:
    files, uid = kept(names), str(source(names).StudyInstanceUID)
    for _ in range(2):  # the second time it has them all
        assert store(archive, files) == [0x0000] * 5
        url = archive.dicomweb_url
        series = query(url, f"studies/{uid}/series")
        assert sorted(values(series, MODALITY)) == ["DOC", "OT", "PR", "SR", "SR"]
        instances = query(url, f"studies/{uid}/instances")
        assert len(instances) == len(set(values(instances, INSTANCE))) == 5
        arrived = retrieve(url, f"studies/{uid}")
        assert sorted(map(data_set, arrived)) == sorted(data_set(f.read_bytes()) for f in files)


@pytest.mark.orthanc
def test_what_goes_over_dicomweb_is_kept_whole_files_and_all(
    archive: OrthancServer, kept: Callable[..., list[Path]]
) -> None:
    archive.reset()
    destination = WebDestination(name="archive", url=archive.dicomweb_url)
    for names in NAMES:
        with open_service(destination) as service:
            assert [service.send(file).status for file in kept(names)] == [0x0000] * 5
        arrived = retrieve(archive.dicomweb_url, f"studies/{source(names).StudyInstanceUID}")
        assert sorted(arrived) == sorted(file.read_bytes() for file in kept(names)), names
        assert store(archive, kept(names)) == [0x0000] * 5
    assert len(archive.instances()) == 5 * len(NAMES), "the other way brings nothing new"


@pytest.mark.orthanc
def test_orthanc_finds_every_study_once_by_its_patients_name(
    archive: OrthancServer, kept: Callable[..., list[Path]]
) -> None:
    for names in READABLE:
        store(archive, kept(names))
    for names in READABLE:
        header = source(names)
        (found,) = query(archive.dicomweb_url, "studies", PatientID=str(header.PatientID))
        assert found[STUDY]["Value"] == [header.StudyInstanceUID]
        assert names_in(found[NAME]["Value"][0]) == str(header.PatientName), names


@pytest.mark.orthanc
@pytest.mark.parametrize("archive", ["strict"], indirect=True)
def test_a_strict_orthanc_takes_nothing_from_whom_it_does_not_know(
    archive: OrthancServer, kept: Callable[..., list[Path]]
) -> None:
    destination = DimseDestination(
        name="archive", ae_title=archive.ae_title, host=archive.host, port=archive.dicom_port
    )
    classes = [str(read_file_meta_info(kept("Latin")[0]).MediaStorageSOPClassUID)]
    with pytest.raises(NoResponseError), associate(destination, "STRANGER", classes) as sender:
        sender.send(kept("Latin")[0])


def changed(file: Path, folder: Path) -> Path:
    """Another content under the same UID: what a well-behaved sender never makes."""
    dataset = dcmread(file)
    dataset.SeriesDescription = "something else"
    dataset.save_as(folder / "changed.dcm")
    return folder / "changed.dcm"


@pytest.mark.orthanc
@pytest.mark.parametrize("archive", ["keeps the first", "keeps the last"], indirect=True)
def test_success_of_a_second_store_does_not_tell_which_content_was_kept(
    archive: OrthancServer,
    kept: Callable[..., list[Path]],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    archive.reset()
    first = kept("Latin")[0]
    second = changed(first, tmp_path)
    assert store(archive, [first, second]) == [0x0000, 0x0000]
    (only,) = archive.instances()
    keeps_first = "first" in request.node.callspec.id
    expected = dcmread(first if keeps_first else second).SeriesDescription
    assert only["SeriesDescription"] == expected


@pytest.mark.parametrize("names", NAMES)
def test_one_uid_names_one_content_so_it_does_not_matter_which_is_kept(names: str) -> None:
    once = {each.sop_instance_uid: each.encode() for each in outputs(names)}
    again = {each.sop_instance_uid: each.encode() for each in outputs(names)}
    assert len(once) == 5
    assert once == again
    corrected = {each.sop_instance_uid for each in outputs(names, OutputIdentity(digest="0" * 64))}
    assert once.keys().isdisjoint(corrected)


# DCMTK


@pytest.mark.dcmtk
def test_dcmtks_archive_keeps_finds_and_gives_back_all_outputs_as_they_are(
    dcmqrscp: Callable[[str], QueryRetrieveSCP], kept: Callable[..., list[Path]]
) -> None:
    archive = dcmqrscp(CALLING)
    for names in READABLE:
        assert store(archive, kept(names)) == [0x0000] * 5
        assert store(archive, kept(names)[:1]) == [0x0000], "it has it"
    studies = archive.find("STUDY", StudyInstanceUID="", PatientName="", PatientID="")
    by_uid = {each.StudyInstanceUID: each for each in studies}
    assert len(by_uid) == len(studies) == len(READABLE)
    for names in READABLE:
        header = source(names)
        found = by_uid[header.StudyInstanceUID]
        assert (found.PatientName, found.PatientID) == (header.PatientName, header.PatientID)


@pytest.mark.dcmtk
@pytest.mark.parametrize("names", ["Japanese", "UTF-8"])
def test_a_study_is_whole_at_each_level_of_dcmtks_archive_and_on_each_way_out(
    dcmqrscp: Callable[[str], QueryRetrieveSCP], kept: Callable[..., list[Path]], names: str
) -> None:
    archive, files = dcmqrscp(CALLING), kept(names)
    assert store(archive, files) == [0x0000] * 5
    study = {"StudyInstanceUID": str(source(names).StudyInstanceUID)}
    series = archive.find("SERIES", **study, SeriesInstanceUID="", Modality="")
    assert sorted(each.Modality for each in series) == ["DOC", "OT", "PR", "SR", "SR"]
    found = [
        image.SOPInstanceUID
        for each in series
        for image in archive.find(
            "IMAGE", **study, SeriesInstanceUID=each.SeriesInstanceUID, SOPInstanceUID=""
        )
    ]
    assert sorted(found) == sorted(dcmread(file).SOPInstanceUID for file in files)
    sent = sorted(data_set(file.read_bytes()) for file in files)
    for retrieved in (archive.get, archive.move):
        arrived = retrieved(QueryRetrieveLevel="STUDY", **study)
        assert sorted(data_set(file.read_bytes()) for file in arrived) == sent
