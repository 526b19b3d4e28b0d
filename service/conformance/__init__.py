"""The DICOM Conformance Statement of a configuration, in the structure of PS3.2 annex A.

It is written from the very tables that the code negotiates with. What only the workers know (what
they make, and what follows which answer) is handed in: the service never imports them.
"""

from service.conformance.general import introduction, the_rest
from service.conformance.listener import listener
from service.conformance.networking import configuration, implementation_model, interfaces
from service.conformance.sender import sender, web_sender
from service.conformance.tables import Lines, Made
from service.settings import Settings

__all__ = ["Made", "statement"]


def statement(settings: Settings, made: Made) -> str:
    """Give the conformance statement of a configuration as a Markdown page."""
    parts = (
        introduction(settings),
        _networking(settings, made),
        the_rest(),
        made.objects,
    )
    return "\n".join(line for part in parts for line in part)


def _networking(settings: Settings, made: Made) -> Lines:
    yield from implementation_model(settings)
    yield "### 4.2 AE specifications"
    yield ""
    yield from listener(settings)
    yield from sender(settings, made)
    yield from web_sender(settings, made)
    yield from interfaces(settings)
    yield from configuration(settings)
