"""The DICOM Conformance Statement of a configuration, in the structure of PS3.2 annex A.

It is generated from the tables that the code negotiates with. What only the workers know (the
objects they build, and how they react to a response) is passed in: the service never imports them.
"""

from service.conformance.general import closing_sections, introduction
from service.conformance.listener import listener
from service.conformance.networking import configuration, implementation_model, interfaces
from service.conformance.sender import sender, web_sender
from service.conformance.tables import Lines, WorkerFacts
from service.conformance.web import origin_server
from service.settings import Settings

__all__ = ["WorkerFacts", "statement"]


def statement(settings: Settings, facts: WorkerFacts) -> str:
    """Write the conformance statement of a configuration as a Markdown page."""
    parts = (
        introduction(settings),
        _networking(settings, facts),
        closing_sections(settings),
        facts.objects,
    )
    return "\n".join(line for part in parts for line in part)


def _networking(settings: Settings, facts: WorkerFacts) -> Lines:
    yield from implementation_model(settings)
    yield "### 4.2 AE specifications"
    yield ""
    yield from listener(settings)
    yield from sender(settings, facts)
    yield from web_sender(settings, facts)
    yield from origin_server(settings)
    yield from interfaces(settings)
    yield from configuration(settings)
