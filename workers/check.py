"""What `lobar check` asks of the parts that only workers know: the bundle and the destinations."""

from service.check import Finding
from service.errors import ExplainedError
from service.settings import Destination, DimseDestination, Settings
from workers.outgoing import SUCCESS, UnreachableError
from workers.pacs import NO_CONNECTION, OFFERED, UNKNOWN_HOST, associate


class DestinationError(ExplainedError):
    """A destination does not answer as it should."""


def echo(settings: Settings, destination: Destination) -> str:
    """Ask a destination whether it is there, and say which of our objects it would take.

    Raises:
        DestinationError: it cannot be reached, refuses us, or answers with a failure.
    """
    if isinstance(destination, DimseDestination):
        return _echo(settings, destination)
    raise NotImplementedError


def _echo(settings: Settings, destination: DimseDestination) -> str:
    """Send C-ECHO to a destination and say which of our objects it would take.

    Raises:
        DestinationError: it cannot be reached, refuses us, or answers with a failure.
    """
    where = f"{destination.ae_title} at {destination.host}:{destination.port}"
    try:
        with associate(destination, settings.dicom.ae_title, OFFERED) as sender:
            status = sender.echo()
            taken = [uid.name for uid in OFFERED if sender.takes(uid)]
    except UnreachableError as exc:
        raise DestinationError(f"{where} does not answer: {_ADVICE.get(str(exc), exc)}") from exc
    if status != SUCCESS:
        raise DestinationError(f"{where} answered C-ECHO with 0x{status:04X}")
    if not taken:
        raise DestinationError(f"{where} answers C-ECHO, but takes none of our objects")
    return f"{where} answers C-ECHO and takes {', '.join(taken)}"


def load_bundle(settings: Settings) -> list[Finding]:
    """Load the bundle as the infer worker would, try it, and say all that it lacks."""
    from workers.bundle_check import inspect  # noqa: PLC0415 -- torch and monai cost seconds

    return inspect(settings.bundle)


_ADVICE = {
    UNKNOWN_HOST: "no name service knows its host.",
    NO_CONNECTION: "no connection. Is it running, and are host and port right?",
    "association-rejected": "it rejects the association. Does it know our AE title "
    "(dicom.ae_title), and is its own right?",
    "association-aborted": "it aborts the association or leaves it unanswered. Is this its DICOM "
    "port?",
    "nothing-accepted": "it takes the association, but none of our objects and no C-ECHO.",
    "no-answer": "it takes the association but does not answer.",
    "echo-not-accepted": "it does not accept C-ECHO.",
}
