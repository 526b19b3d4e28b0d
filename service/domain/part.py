"""The parts of the service, each a process of its own."""

from enum import StrEnum


class PartName(StrEnum):
    """A part, by the name that heartbeats, metrics and pages use."""

    LISTENER = "listener"
    RELAY = "relay"
    INFER = "infer"
    DELIVER = "deliver"
    WEB = "web"
