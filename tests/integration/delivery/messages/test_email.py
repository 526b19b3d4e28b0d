"""E-mails to aiosmtpd, a real SMTP server."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.mail_server import MailServer
from support.message_worker import MessageSetup, secrets_in
from support.system.certificates import Authority
from support.system.ports import LOOPBACK, free_port

from service.domain.delivery import DeliveryState
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.settings import EmailDestination
from workers.delivery.messages.smtp import open_smtp
from workers.delivery.stored_output import DestinationUnavailableError

Setup = Callable[..., MessageSetup]
BOTH = ["duty@example.org", "second@example.org"]


def to(port: int, **changes: object) -> EmailDestination:
    values = {
        "name": "duty",
        "host": LOOPBACK,
        "port": port,
        "sender": "lobar@example.org",
        "recipients": BOTH,
        "connect_seconds": 5,
        "response_seconds": 5,
    }
    return EmailDestination.model_validate(values | changes)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """`setup(port)` makes a worker that hands e-mails to the server at a port."""
    made: list[MessageSetup] = []

    def make(port: int, **changes: Any) -> MessageSetup:  # noqa: ANN401 -- any of a destination
        made.append(MessageSetup(tmp_path, to(port, **changes), maximum_refusals=2))
        return made[-1]

    yield make
    for each in made:
        each.ledger.close()


def test_an_e_mail_says_the_finding_and_names_no_patient(setup: Setup) -> None:
    with MailServer().running() as server:
        here = setup(server.port, page_url="https://lobar.example.org")
        job_id = here.report()
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    (email,) = server.received
    text = email.get_content()
    job = here.workspace.job(job_id)
    assert email["Subject"].startswith("Lobar: Pneumonia ")
    assert f"{100 * (job.probability or 0):.1f} %" in text
    assert "research use only" in text
    assert f"https://lobar.example.org/jobs/{job_id}" in text
    assert job.study_instance_uid in text
    assert secrets_in(str(email)) == []
    assert server.recipients == [BOTH]


def test_a_name_with_line_breaks_and_headers_stays_in_its_line(
    setup: Setup, tmp_path: Path
) -> None:
    template = tmp_path / "own.txt"
    template.write_text("About {{ patient.name.family }}\n\nName: {{ patient.name.family }}\n")
    with MailServer().running() as server:
        here = setup(server.port, template_file=template, include_patient=True)
        here.report(PatientName="Ä\x1f\u2028Bcc: x@example.org^K")
        here.deliver()
    (email,) = server.received
    assert email["Bcc"] is None
    assert email["Subject"].startswith("About Ä")
    assert len(email.get_content().strip().splitlines()) == 1


def test_a_repeat_has_the_same_message_id(setup: Setup) -> None:
    answers = iter(["451 later", "250 OK"])
    seen = []

    def answer(email: Any) -> str:  # noqa: ANN401 -- of the standard library
        seen.append(str(email["Message-ID"]))
        return next(answers)

    with MailServer(answer).running() as server:
        here = setup(server.port)
        job_id = here.report()
        here.deliver()
        delivery = here.of(job_id)
        assert (delivery.status, delivery.refusals) == (0xA700, 0)  # it may take it later
        here.clock.now += 3600
        here.deliver()
    assert here.of(job_id).state is DeliveryState.DELIVERED
    assert len(set(seen)) == 1
    assert len(seen) == 2


def test_what_is_refused_for_good_is_parked(setup: Setup) -> None:
    with MailServer(to=lambda _: "550 no such user").running() as server:
        here = setup(server.port)
        job_id = here.report()
        here.deliver()
        assert here.of(job_id).status == 0x0110
        here.clock.now += 3600
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.PARKED, Reason.DESTINATION_REFUSED)


def test_where_one_recipient_is_refused_the_others_have_it_once(setup: Setup) -> None:
    refuse_second = lambda address: "550 no" if address == BOTH[1] else "250 OK"  # noqa: E731
    with MailServer(to=refuse_second).running() as server:
        here = setup(server.port)
        job_id = here.report()
        here.deliver()
    delivery = here.of(job_id)
    assert (delivery.state, delivery.status) == (DeliveryState.DELIVERED, 0x0001)
    assert server.recipients == [BOTH[:1]]


def test_several_reports_go_over_one_connection(setup: Setup) -> None:
    with MailServer().running() as server:
        here = setup(server.port)
        jobs = [here.report() for _ in range(3)]
        here.deliver()
    assert {here.of(each).state for each in jobs} == {DeliveryState.DELIVERED}
    assert len({each["Message-ID"] for each in server.received}) == 3


@pytest.mark.parametrize("at_once", [False, True], ids=["starttls", "at once"])
def test_over_tls_with_a_password(
    setup: Setup, authority: Authority, tmp_path: Path, *, at_once: bool
) -> None:
    context = authority.server_context(authority.issue("mail"))
    context.verify_mode = ssl.CERT_NONE
    file = tmp_path / "password"
    file.write_text("a password\n")
    server = MailServer(tls=context, at_once=at_once, password="a password")
    signed_in = {"tls": True, "tls_ca_file": authority.certificate, "start_tls": not at_once}
    with server.running():
        here = setup(server.port, user="lobar", password_file=file, **signed_in)
        job_id = here.report()
        here.deliver()
        assert here.of(job_id).state is DeliveryState.DELIVERED
        wrong = to(server.port, user="lobar", password="another", **signed_in)
        with pytest.raises(DestinationUnavailableError, match="smtp-sign-in-refused"):
            enter(wrong)
        untrusted = to(server.port, tls=True, start_tls=not at_once)
        with pytest.raises(DestinationUnavailableError, match="tls-certificate-not-trusted"):
            enter(untrusted)
    assert len(server.received) == 1


def test_a_server_without_starttls_gets_nothing(setup: Setup) -> None:
    with MailServer().running() as server:
        here = setup(server.port, tls=True)
        job_id = here.report()
        here.deliver()
    assert server.received == []
    assert here.is_paused()
    assert here.of(job_id).state is DeliveryState.PENDING
    assert here.workspace.names(job_id)[-1] == "output-postponed"


def test_a_server_that_is_not_there_gets_all_when_it_is_back(setup: Setup) -> None:
    port = free_port()
    here = setup(port)
    job_id = here.report()
    here.deliver()
    assert here.is_paused()
    here.clock.now += 3600
    with MailServer(port=port).running():
        here.deliver()
    assert here.of(job_id).state is DeliveryState.DELIVERED


def enter(destination: EmailDestination) -> None:
    with open_smtp(destination):
        pass
