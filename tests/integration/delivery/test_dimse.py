"""C-STORE to DCMTK and to scripted receivers: what arrives, and how each response is read."""

import socket
import struct
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from peers.dcmtk import StoreSCP
from peers.scripted_pacs import ABORT, ALL, EXPLICIT, IMPLICIT, SC, SR, SR_3D, ScriptedPacs
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from support.system.ports import LOOPBACK, free_port
from synthetic.report_sources import NOW, element, item, part10, predicted, values

from service.settings import DimseDestination
from workers.delivery.dimse import associate
from workers.delivery.stored_output import CorruptOutputError, NoResponseError, StoreResponse
from workers.inference.header import parse_header
from workers.reporting.overlay.secondary_capture import build_overlay
from workers.reporting.raw_elements import tag_of
from workers.reporting.sr.report import build_report

PICTURE: Final = np.linspace(0, 1, 30 * 20, dtype=np.float32).reshape(30, 20)


def to(peer: ScriptedPacs | StoreSCP, **changes: object) -> DimseDestination:
    values = {"name": "pacs", "ae_title": peer.ae_title, "host": peer.host, "port": peer.port}
    return DimseDestination.model_validate(values | {"response_seconds": 20} | changes)


def send(peer: ScriptedPacs | StoreSCP, *files: Path, **changes: object) -> list[StoreResponse]:
    classes = [str(dcmread(each).SOPClassUID) for each in files]
    with associate(to(peer, **changes), "LOBAR", classes) as sender:
        return [sender.send(each) for each in files]


def data_set(file: Path) -> bytes:
    content = file.read_bytes()
    return content[144 + struct.unpack_from("<L", content, 140)[0] :]


def why_not(destination: DimseDestination) -> str:
    with pytest.raises(NoResponseError) as raised, associate(destination, "LOBAR", [SR_3D]):
        pytest.fail("there is no listener to associate with")
    return str(raised.value)


@pytest.mark.dcmtk
def test_report_and_overlay_reach_dcmtk_byte_for_byte(
    storescp: Callable[..., StoreSCP], report: Path, overlay: Path
) -> None:
    receiver = storescp()
    answers = send(receiver, report, overlay)
    assert [(each.status, each.taken, each.warned) for each in answers] == [(0, True, False)] * 2
    arrived = {dcmread(each).SOPInstanceUID: each for each in receiver.received()}
    assert [answer.sop_instance_uid for answer in answers] == [
        dcmread(each).SOPInstanceUID for each in (report, overlay)
    ]
    for answer, sent in zip(answers, (report, overlay), strict=True):
        assert data_set(arrived[answer.sop_instance_uid]) == data_set(sent)


TAKEN, WARNED, TRANSIENT, REFUSED = (
    (True, False, False),
    (True, True, False),
    (False, False, True),
    (False, False, False),
)
STATUSES = {
    0x0000: TAKEN,
    0x0001: WARNED,
    0xB000: WARNED,
    0xB006: WARNED,
    0xBFFF: WARNED,
    0xA700: TRANSIENT,
    0xA7FF: TRANSIENT,
    0xA900: REFUSED,
    0xC000: REFUSED,
    0xCFFF: REFUSED,
    0x0110: REFUSED,
    0x0122: REFUSED,
    0xFE00: REFUSED,
}


def test_a_status_means_what_the_standard_says(report: Path) -> None:
    statuses = iter(STATUSES)
    with ScriptedPacs(answer=lambda _: next(statuses)).running() as peer:
        answers = send(peer, *[report] * len(STATUSES))
    assert {
        answer.status: (answer.taken, answer.warned, answer.transient) for answer in answers
    } == STATUSES


def test_a_receiver_of_comprehensive_sr_only_gets_the_twin(report: Path) -> None:
    with ScriptedPacs(takes=[(SR, EXPLICIT)]).running() as peer:
        (answer,) = send(peer, report)
    ((sop_class, syntax, sent),) = peer.received
    assert (answer.status, sop_class, syntax) == (0, SR, EXPLICIT)
    original = dcmread(report)
    assert answer.sop_instance_uid != original.SOPInstanceUID
    assert answer.sop_instance_uid.encode() in sent
    assert original.get_item("PatientName").value in sent


def test_the_twin_has_the_same_name_each_time_it_is_sent(report: Path) -> None:
    with ScriptedPacs(takes=[(SR, EXPLICIT)]).running() as peer:
        send(peer, report)
        send(peer, report)
    assert peer.received[0] == peer.received[1]


@pytest.mark.parametrize("sop_class", [SR_3D, SR, SC])
def test_a_receiver_of_implicit_vr_only_gets_a_conversion(
    report: Path, overlay: Path, sop_class: str
) -> None:
    file = overlay if sop_class == SC else report
    with ScriptedPacs(takes=[(sop_class, IMPLICIT)]).running() as peer:
        (answer,) = send(peer, file)
    ((taken, syntax, sent),) = peer.received
    assert (answer.status, taken, syntax) == (0, sop_class, IMPLICIT)
    original = dcmread(file)
    assert original.get_item("PatientName").value in sent
    assert original.get_item("PatientID").value in sent


ODD: Final[dict[str, bytes]] = {
    "SpecificCharacterSet": b"\\ISO 2022 IR 87\0",
    "PatientID": b" PID 0007  \0",
    "PatientSex": b"female",
    "PatientBirthDate": b"1970-13-32",
    "PatientBirthTime": b"noon",
    "PatientAge": b"fifty",
    "PatientSize": b"1,75",
    "PatientWeight": b"heavy\\\\heavier",
    "StudyDate": b"yesterday ",
    "StudyTime": b"101112.5\0",
    "AccessionNumber": b"A" * 90,
    "StudyID": b"",
    "StudyDescription": b"Thorax \x1b$B;3ED\x1b(B  ",
    "PatientComments": b"long " * 4000,
    "EthnicGroup": b"\xff\xfe\x80",
    "StudyInstanceUID": b"1.2.826.0.1.3680043.8.498.02 \0",
    "PatientIdentityRemoved": b"YES ",
    "DeidentificationMethod": b"by hand\0",
    "OtherPatientIDsSequence": item(
        element("PatientID", b"  other\0"),
        element("IssuerOfPatientID", b"\x1b$B;3ED\x1b(B "),
        element("TypeOfPatientID", b"word of mouth"),
    ),
    "ProcedureCodeSequence": item(
        element("CodeValue", b"a code of more than sixteen characters"),
        element("CodingSchemeVersion", b" 1 "),
    ),
}
UNKNOWN_VR: Final = ("PatientAge", "StudyDescription", "EthnicGroup", "AccessionNumber")
WRONG_VR: Final = {"PatientSize": "LT", "PatientBirthDate": "US", "StudyDate": "FD"}


def odd_source() -> Dataset:
    """Read a header whose values break the standard in many ways, some under another VR."""
    source = parse_header(BytesIO(part10(values(names="Japanese") | ODD)))
    for keyword, vr in {**dict.fromkeys(UNKNOWN_VR, "UN"), **WRONG_VR}.items():
        raw = source.get_item(keyword)
        assert isinstance(raw, RawDataElement)
        source[keyword] = raw._replace(VR=vr)
    return source


def undecoded(data_set: bytes, syntax: str) -> Dataset:
    """Read a data set; dcmread would decode Specific Character Set."""
    elements = data_element_generator(BytesIO(data_set), syntax == IMPLICIT, is_little_endian=True)
    return Dataset({BaseTag(each.tag): each for each in elements})


def every_value(dataset: Dataset) -> dict[tuple[int, ...], bytes]:
    """Return each element's value field, undecoded, by the tags and item numbers on its path."""
    fields: dict[tuple[int, ...], bytes] = {}
    for each in list(dataset.elements()):
        if dictionary_VR(each.tag) == "SQ":
            for number, nested in enumerate(dataset[each.tag].value):
                inner = every_value(nested)
                fields |= {(each.tag, number, *path): value for path, value in inner.items()}
        else:
            assert isinstance(each, RawDataElement) or each.is_empty
            fields[(each.tag,)] = each.value or b""
    return fields


@pytest.mark.dcmtk
def test_every_value_reaches_a_receiver_of_implicit_vr_byte_for_byte(
    storescp: Callable[..., StoreSCP], tmp_path: Path
) -> None:
    source = odd_source()
    files = []
    for kind, output in (
        ("report", build_report(source, predicted(), now=NOW)),
        ("overlay", build_overlay(source, PICTURE, predicted(), now=NOW)),
    ):
        files.append(tmp_path / f"{kind}.dcm")
        files[-1].write_bytes(output.encode())
    receiver = storescp("+xi")
    assert [answer.status for answer in send(receiver, *files)] == [0, 0]
    arrived = {dcmread(each).SOPInstanceUID: each for each in receiver.received()}
    for file in files:
        other = dcmread(arrived[dcmread(file).SOPInstanceUID])
        assert other.file_meta.TransferSyntaxUID == IMPLICIT
        arrived_values = every_value(undecoded(data_set(arrived[other.SOPInstanceUID]), IMPLICIT))
        assert arrived_values == every_value(undecoded(data_set(file), EXPLICIT))
        texts = {keyword: value for keyword, value in ODD.items() if "Sequence" not in keyword}
        assert {keyword: arrived_values[(tag_of(keyword),)] for keyword in texts} == {
            keyword: value + b" " * (len(value) % 2) for keyword, value in texts.items()
        }


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_every_value_of_the_twin_is_that_of_the_report(tmp_path: Path, syntax: str) -> None:
    file = tmp_path / "report.dcm"
    file.write_bytes(build_report(odd_source(), predicted(), now=NOW).encode())
    with ScriptedPacs(takes=[(SR, syntax)]).running() as peer:
        send(peer, file)
    ((_, _, sent),) = peer.received
    theirs = every_value(undecoded(sent, syntax))
    ours = every_value(undecoded(data_set(file), EXPLICIT))
    differing = {path for path in theirs | ours if theirs.get(path) != ours.get(path)}
    own = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
    assert differing == {(tag_of(keyword),) for keyword in own}


def test_explicit_vr_and_the_original_are_preferred_where_all_is_taken(report: Path) -> None:
    with ScriptedPacs(takes=ALL).running() as peer:
        send(peer, report)
    assert peer.received == [(SR_3D, EXPLICIT, data_set(report))]


def test_an_object_that_no_context_was_accepted_for_is_not_sent(
    report: Path, overlay: Path
) -> None:
    with ScriptedPacs(takes=[(SC, EXPLICIT)]).running() as peer:
        answers = send(peer, report, overlay)
    assert [each.status for each in answers] == [0x0122, 0x0000]
    assert peer.classes() == [SC]


def test_an_echo_is_answered() -> None:
    with (
        ScriptedPacs().running() as peer,
        associate(to(peer), "LOBAR", [SR_3D]) as sender,
    ):
        assert sender.echo() == 0
        assert sender.takes(SR_3D)
        assert not sender.takes(SC), "it was not proposed"
    with (
        ScriptedPacs(echoes=False).running() as peer,
        associate(to(peer), "LOBAR", [SR_3D]) as sender,
        pytest.raises(NoResponseError, match="echo-not-accepted"),
    ):
        sender.echo()


def test_the_destination_is_told_who_calls_and_whom() -> None:
    with ScriptedPacs(calling="CHEST AI").running() as peer:
        with associate(to(peer), "CHEST AI", [SR_3D]) as sender:
            assert sender.is_open
        with associate(to(peer, calling_ae_title="CHEST AI"), "LOBAR", [SR_3D]) as sender:
            assert sender.is_open
        assert why_not(to(peer)) == "association-rejected"
        assert why_not(to(peer, calling_ae_title="CHEST AI", ae_title="OTHER")) == (
            "association-rejected"
        )


@pytest.mark.dcmtk
def test_a_dcmtk_that_refuses_every_association_is_unreachable(
    storescp: Callable[..., StoreSCP],
) -> None:
    # it closes at once, so the rejection itself may be lost
    assert why_not(to(storescp("--refuse"))) in {"association-rejected", "association-aborted"}


@pytest.mark.dcmtk
@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
def test_a_dcmtk_that_aborts_has_not_answered(
    storescp: Callable[..., StoreSCP], report: Path, option: str
) -> None:
    receiver = storescp(option)
    with associate(to(receiver), "LOBAR", [SR_3D]) as sender:
        with pytest.raises(NoResponseError, match="no-answer"):
            sender.send(report)
        assert not sender.is_open
        with pytest.raises(NoResponseError, match="association-lost"):
            sender.send(report)


def test_an_object_that_is_aborted_on_has_no_answer(report: Path) -> None:
    with (
        ScriptedPacs(answer=lambda _: ABORT).running() as peer,
        associate(to(peer), "LOBAR", [SR_3D]) as sender,
        pytest.raises(NoResponseError, match="no-answer"),
    ):
        sender.send(report)


def test_a_receiver_that_takes_nothing_of_ours_says_so() -> None:
    with ScriptedPacs(takes=[("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)], echoes=False).running() as p:
        assert why_not(to(p)) == "nothing-accepted"


def test_nobody_there_is_no_connection() -> None:
    absent = ScriptedPacs(port=free_port())
    assert why_not(to(absent)) == "no-connection"
    assert why_not(to(absent, host="no-such-host.invalid")) == "unknown-host"


def test_a_peer_that_accepts_the_connection_and_says_nothing_is_given_up_on() -> None:
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen()
        silent = ScriptedPacs(port=listening.getsockname()[1])
        assert why_not(to(silent, response_seconds=0.5)) == "association-aborted"


def test_a_peer_that_speaks_another_protocol_is_unreachable() -> None:
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen()

        def speak_http() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        speaker = threading.Thread(target=speak_http)
        speaker.start()
        other = ScriptedPacs(port=listening.getsockname()[1])
        assert why_not(to(other, response_seconds=2)) in {"association-aborted", "no-connection"}
        speaker.join()


def test_a_receiver_that_never_answers_an_object_is_given_up_on(report: Path) -> None:
    asked_for = threading.Event()

    def wait(_: object) -> int:
        asked_for.wait(20)
        return 0

    with ScriptedPacs(answer=wait).running() as peer:
        with (
            associate(to(peer, response_seconds=0.5), "LOBAR", [SR_3D]) as sender,
            pytest.raises(NoResponseError, match="no-answer"),
        ):
            sender.send(report)
        asked_for.set()


@pytest.mark.parametrize(
    "content",
    [b"", b"not DICOM at all", bytes(128) + b"DICM", bytes(128) + b"DICM" + bytes(64)],
    ids=["empty", "text", "no meta", "zeros"],
)
def test_an_object_that_is_damaged_in_the_outbox_is_not_sent(
    tmp_path: Path, report: Path, content: bytes
) -> None:
    damaged = tmp_path / "damaged.sr.dcm"
    damaged.write_bytes(content)
    with (
        ScriptedPacs().running() as peer,
        associate(to(peer), "LOBAR", [SR_3D]) as sender,
    ):
        with pytest.raises(CorruptOutputError):
            sender.send(damaged)
        with pytest.raises(FileNotFoundError):
            sender.send(tmp_path / "gone.sr.dcm")
        assert sender.send(report).taken, "the association is as good as before"
