"""ORU^R01 over MLLP to hl7apy's and python-hl7's servers, and to a stand-in for odd receivers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.mllp import ScriptedMllp, acknowledge, framed, hl7apy_server, python_hl7_server
from support.message_worker import PATIENT, MessageSetup
from support.system.certificates import Authority
from support.system.ports import LOOPBACK, free_port

from service.domain.delivery import DeliveryState
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.settings import Hl7Destination

HOUR = 3600
Setup = Callable[..., MessageSetup]


def to(port: int, **changes: object) -> Hl7Destination:
    values = {
        "name": "ris",
        "host": LOOPBACK,
        "port": port,
        "receiving_application": "RIS",
        "connect_seconds": 2,
        "response_seconds": 5,
    }
    return Hl7Destination.model_validate(values | changes)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """`setup(port)` makes a worker that tells the receiver at a port."""
    made: list[MessageSetup] = []

    def make(port: int, *, maximum_refusals: int = 3, **changes: Any) -> MessageSetup:  # noqa: ANN401
        made.append(MessageSetup(tmp_path, to(port, **changes), maximum_refusals=maximum_refusals))
        return made[-1]

    yield make
    for each in made:
        each.ledger.close()


def test_hl7apy_finds_the_message_valid_and_reads_what_the_report_says(setup: Setup) -> None:
    with hl7apy_server() as (port, kept):
        here = setup(port)
        job_id = here.report()
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    (message,) = kept
    assert message.msh.msh_9.to_er7() == "ORU^R01^ORU_R01"
    assert (message.msh.msh_3.value, message.msh.msh_5.value) == ("LOBAR", "RIS")
    job = here.workspace.job(job_id)
    observations = {
        each.obx.obx_3.ce_1.value: each.obx
        for each in message.oru_r01_patient_result.oru_r01_order_observation.oru_r01_observation
    }
    certainty = observations["111012"].obx_5.to_er7()
    assert certainty == f"{100 * (job.probability or 0):.1f}"
    expected = {"present": "Present", "absent": "Absent", "indeterminate": "Undetermined"}
    assert observations["233604007"].obx_5.to_er7().split("^")[1] == expected[job.finding or ""]
    assert job.study_instance_uid in observations["113014"].obx_5.to_er7()
    assert here.report_uid(job_id) in observations["report-uid"].obx_5.to_er7()


def test_python_hl7_reads_delimiters_in_names_as_they_are_and_its_answers_count(
    setup: Setup,
) -> None:
    with python_hl7_server() as (port, kept):
        here = setup(port)
        jobs = [here.report(), here.report()]
        here.deliver()
    assert {here.of(each).state for each in jobs} == {DeliveryState.DELIVERED}
    assert len(kept) == 2
    message = kept[0]
    (patient,) = message.segments("PID")
    family, given = patient[5][0][0][0], patient[5][0][1][0]
    assert message.unescape(family) == "Müller"
    assert message.unescape(given) == "Jörg|Karl"
    assert message.unescape(patient[3][0][0][0]) == PATIENT["PatientID"]
    (request,) = message.segments("OBR")
    assert message.unescape(str(request[18])) == PATIENT["AccessionNumber"]


def test_a_receiver_that_closes_after_each_answer_gets_every_message(setup: Setup) -> None:
    with hl7apy_server() as (port, kept):
        here = setup(port)
        jobs = [here.report() for _ in range(4)]
        here.deliver()
    assert {here.of(each).state for each in jobs} == {DeliveryState.DELIVERED}
    assert len({each.msh.msh_10.value for each in kept}) == 4


def test_one_connection_serves_all_that_is_due(setup: Setup) -> None:
    with ScriptedMllp(lambda message: framed(acknowledge(message, "CA"))).running() as receiver:
        here = setup(receiver.port)
        jobs = [here.report() for _ in range(3)]
        here.deliver()
    assert {here.of(each).state for each in jobs} == {DeliveryState.DELIVERED}
    assert (len(receiver.received), receiver.connections) == (3, 1)


@pytest.mark.parametrize(
    ("code", "error", "status", "counts"),
    [
        ("AE", (), 0x0110, True),  # the message is at fault
        ("AE", ("204",), 0x0110, True),  # unknown key
        ("AE", ("207",), 0xA700, False),  # internal error: it may take the same later
        ("AR", ("200",), 0xC000, True),  # this type of message is never taken
        ("AR", (), 0xA700, False),  # it cannot now
        ("CR", (), 0xC000, True),
    ],
)
def test_a_refusal_is_recorded_by_what_it_means(
    setup: Setup, code: str, error: tuple[str, ...], status: int, *, counts: bool
) -> None:
    with ScriptedMllp(lambda text: framed(acknowledge(text, code, *error))).running() as receiver:
        here = setup(receiver.port)
        job_id = here.report()
        here.deliver()
    delivery = here.of(job_id)
    assert (delivery.state, delivery.status) == (DeliveryState.PENDING, status)
    assert delivery.refusals == counts
    assert not here.is_paused()


def test_a_message_refused_too_often_is_parked_and_taken_after_a_requeue(setup: Setup) -> None:
    codes = iter(["AE", "AE", "AA"])
    receiver = ScriptedMllp(lambda text: framed(acknowledge(text, next(codes))))
    with receiver.running():
        here = setup(receiver.port, maximum_refusals=2)
        job_id = here.report()
        here.deliver()
        here.clock.now += HOUR
        here.deliver()
        assert here.workspace.stands(job_id) == (JobState.PARKED, Reason.DESTINATION_REFUSED)
        here.requeue(job_id)
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert len(set(receiver.received)) == 1  # a repeat is the same message


@pytest.mark.parametrize(
    "answer",
    [
        framed("no HL7 at all"),
        framed("MSH|^~\\&|RIS\r"),
        framed("MSH|^~\\&|RIS||LOBAR\rMSA|ZZ|1\r"),
        framed(acknowledge("", control_id="OF-ANOTHER")),
        b"\xff" * 70_000,
        b"",
        None,
    ],
    ids=["no-hl7", "no-msa", "no-code", "of-another", "no-end", "silence", "closed"],
)
def test_an_answer_that_cannot_be_read_is_none_and_the_message_waits(
    setup: Setup, answer: bytes | None
) -> None:
    with ScriptedMllp(lambda _: answer).running() as receiver:
        here = setup(receiver.port, response_seconds=0.3)
        job_id = here.report()
        here.deliver()
        assert here.of(job_id).state is DeliveryState.PENDING
        assert not here.is_paused()
        assert here.workspace.names(job_id)[-1] == "output-postponed"
        receiver.answer = lambda message: framed(acknowledge(message))
        here.clock.now += HOUR
        here.deliver()
    assert here.of(job_id).state is DeliveryState.DELIVERED


def test_two_messages_in_a_row_without_an_answer_count_against_the_receiver(setup: Setup) -> None:
    with ScriptedMllp(lambda _: None).running() as receiver:
        here = setup(receiver.port)
        for _ in range(3):
            here.report()
        here.deliver()
    assert here.is_paused()
    assert len(receiver.received) == 2


def test_a_receiver_that_is_not_there_opens_the_breaker_and_gets_all_when_it_is_back(
    setup: Setup,
) -> None:
    port = free_port()
    here = setup(port)
    jobs = [here.report(), here.report()]
    here.deliver()
    assert here.is_paused()
    here.clock.now += HOUR
    receiver = ScriptedMllp(lambda message: framed(acknowledge(message)), port=port)
    with receiver.running():
        here.deliver()
    assert {here.of(each).state for each in jobs} == {DeliveryState.DELIVERED}
    assert not here.is_paused()


def test_over_tls_with_certificates_of_both_sides(setup: Setup, authority: Authority) -> None:
    ours = authority.issue("lobar")
    context = authority.server_context(authority.issue("ris"))
    receiver = ScriptedMllp(lambda message: framed(acknowledge(message)), tls=context)
    files = {"tls": True, "tls_ca_file": authority.certificate}
    with receiver.running():
        here = setup(
            receiver.port,
            tls_certificate_file=ours.certificate,
            tls_key_file=ours.key,
            **files,
        )
        jobs = [here.report(), here.report()]
        here.deliver()
    assert {here.of(each).state for each in jobs} == {DeliveryState.DELIVERED}
    assert receiver.connections == 1  # the tickets of TLS 1.3 are no data


def test_a_receiver_of_another_authority_is_sent_nothing(
    setup: Setup, authority: Authority
) -> None:
    receiver = ScriptedMllp(
        lambda message: framed(acknowledge(message)),
        tls=authority.server_context(authority.issue("ris")),
    )
    with receiver.running():
        here = setup(receiver.port, tls=True)
        job_id = here.report()
        here.deliver()
    assert receiver.received == []
    assert here.is_paused()
    assert here.of(job_id).state is DeliveryState.PENDING


def test_a_template_of_the_hospital_s_own_is_used(setup: Setup, tmp_path: Path) -> None:
    template = tmp_path / "own.hl7"
    template.write_text(
        "MSH|^~\\&|{{ sending_application }}||||{{ dated }}||ORU^R01|{{ control_id }}|P|2.3\n"
        "PID|||{{ patient.id }}\n"
        "OBR|1\n"
        "OBX||ST|AI||{{ pneumonia.word if pneumonia else explanation }}\n"
        "OBX||ST|AI2||second\n"
    )
    with ScriptedMllp(lambda message: framed(acknowledge(message))).running() as receiver:
        here = setup(receiver.port, template_file=template)
        job_id = here.report(PatientID="A|B\\C")
        here.deliver()
    assert here.of(job_id).state is DeliveryState.DELIVERED
    (message,) = receiver.received
    segments = message.split("\r")
    assert segments[1] == "PID|||A\\F\\B"  # of several values (PS3.5 6.4) the first
    assert [each[:6] for each in segments[3:5]] == ["OBX|1|", "OBX|2|"]
