"""The implementation model, network interfaces and configuration (PS3.2 annex A, 4.1, 4.3, 4.4)."""

from typing import Final

from service.conformance.tables import Lines, heading, paragraph, table
from service.settings import Settings

_LISTENER: Final = (
    "Receives instances, answers C-ECHO, receives storage commitment requests, and the results of "
    "the requests that Lobar made."
)
_DELIVERER: Final = (
    "Sends reports and the other outputs, requests storage commitment of them, and sends the "
    "results of storage commitment requests to senders."
)
_WEB: Final = (
    "Receives instances by STOW-RS, and answers searches (QIDO-RS) and retrievals (WADO-RS) of "
    "what Lobar holds."
)


def implementation_model(settings: Settings) -> Lines:
    """Write section 4.1."""
    yield from heading(2, "4 Networking")
    yield from heading(3, "4.1 Implementation model")
    yield from heading(4, "4.1.1 Application data flow")
    yield "```mermaid"
    yield "flowchart LR"
    yield '    sender(["PACS, router or modality"]) -->|"C-STORE, C-ECHO, N-ACTION"| listener'
    yield '    listener["LISTENER"] -.->|"spool and ledger"| deliverer["DELIVERER"]'
    yield '    deliverer -->|"C-STORE, N-ACTION"| pacs(["destination"])'
    yield '    deliverer -->|"STOW-RS"| web(["destination with DICOMweb"])'
    yield '    agent(["DICOMweb user agent"]) -->|"STOW-RS, QIDO-RS, WADO-RS"| origin["WEB"]'
    yield '    origin -.->|"spool and ledger"| deliverer'
    yield '    pacs -->|"N-EVENT-REPORT"| listener'
    yield '    deliverer -->|"N-EVENT-REPORT"| sender'
    yield "```"
    yield ""
    yield from heading(4, "4.1.2 Functional definition of AEs")
    yield from table(
        ("Application entity", "Function"),
        (
            ("LISTENER", f"{_LISTENER} Runs as `lobar listener`."),
            ("DELIVERER", f"{_DELIVERER} Runs as `lobar worker deliver`."),
            ("WEB", f"{_WEB} Runs as `lobar web`."),
        ),
    )
    yield from paragraph(
        f"The first two use the AE title {settings.dicom.ae_title}, unless a destination has a",
        "`calling_ae_title` of its own.",
    )
    yield from heading(4, "4.1.3 Sequencing of real-world activities")
    yield "1. An instance is stored. Success is returned when it is on the disk and in the ledger."
    yield "2. It is analysed after the instances that were received before it."
    yield "3. Its outputs are sent to each destination that is configured for this outcome."
    yield "4. Where a destination is configured for storage commitment, commitment is requested; an"
    yield "   output that the destination does not commit to is sent again."
    yield ""


def interfaces(settings: Settings) -> Lines:
    """Write section 4.3."""
    yield from heading(3, "4.3 Network interfaces")
    yield from paragraph(
        "TCP/IP, IPv4 or IPv6, as provided by the host. DNS names are resolved by the host.",
        f"The listener is at {settings.dicom.host}, port {settings.dicom.port}; the web server is",
        f"at {settings.web.host}, port {settings.web.port}.",
    )


def configuration(settings: Settings) -> Lines:
    """Write section 4.4."""
    yield from heading(3, "4.4 Configuration")
    yield from table(
        ("Parameter", "Value"),
        (
            ("AE title", settings.dicom.ae_title),
            ("Port", str(settings.dicom.port)),
            ("Maximum PDU received", f"{settings.dicom.maximum_pdu_bytes} bytes"),
            ("Largest instance", f"{settings.dicom.maximum_instance_bytes} bytes"),
            ("ARTIM and negotiation time-out", f"{settings.dicom.artim_seconds:g} s"),
            ("Inactivity on an association", f"{settings.dicom.network_seconds:g} s"),
            ("Waiting for one message, at most", f"{settings.dicom.message_seconds:g} s"),
            (
                "Least rate of a message",
                f"{settings.dicom.minimum_bytes_per_second} bytes a second, after 10 s of waiting",
            ),
            ("Retries to a destination, at most", f"{settings.deliver.give_up_days:g} days"),
            ("Instances of finished jobs are kept for", f"{settings.spool.keep_days:g} days"),
        ),
    )
    yield from paragraph("All parameters: docs/configuration.md.")
