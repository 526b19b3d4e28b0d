"""The checks of `lobar check` that need the workers' code: the bundle and the destinations."""

from dataclasses import replace

import httpx
from pydicom.uid import UID

from service.dicom.statuses import (
    SUCCESS,
)
from service.dicom.storage_commitment import STORAGE_COMMITMENT
from service.domain.check_result import CheckResult
from service.domain.monitoring.reference import BadReferenceError
from service.errors import ExplainedError
from service.messages.templating import MessageTemplateError
from service.settings import (
    BundleSettings,
    Destination,
    DimseDestination,
    MessageDestination,
    Settings,
    WebDestination,
)
from service.telemetry.drift import REFERENCE, read_reference
from workers.delivery import dimse_tls, stow_rs, web_client
from workers.delivery.dimse import OFFERED, associate
from workers.delivery.messages import sender, smtp
from workers.delivery.messages.trial import try_receiver
from workers.delivery.stored_output import (
    NO_CONNECTION,
    UNKNOWN_HOST,
    NoResponseError,
)


class DestinationError(ExplainedError):
    """A destination does not respond as it should."""


def echo(settings: Settings, destination: Destination) -> str:
    """Probe a destination without sending it anything, and return a line about what it accepts.

    Raises:
        DestinationError: it cannot be reached, rejects us, or responds with a failure.
    """
    if isinstance(destination, DimseDestination):
        return _echo(settings, destination)
    if isinstance(destination, WebDestination):
        return _query(destination)
    if isinstance(destination, MessageDestination):
        return _try(destination)
    raise TypeError(f"no check is known for a {type(destination).__name__}")


def _echo(settings: Settings, destination: DimseDestination) -> str:
    """Send C-ECHO to a destination and return which of our SOP classes it accepts.

    Raises:
        DestinationError: it cannot be reached, rejects us, or responds with a failure.
    """
    where = f"{destination.ae_title} at {destination.host}:{destination.port}"
    try:
        offered = (*OFFERED, UID(STORAGE_COMMITMENT))
        with associate(destination, settings.dicom.ae_title, offered) as sender:
            status = sender.echo()
            taken = [uid.name for uid in OFFERED if sender.takes(uid)]
            commits = sender.takes(STORAGE_COMMITMENT)
    except NoResponseError as exc:
        raise DestinationError(f"{where} does not answer: {_ADVICE.get(str(exc), exc)}") from exc
    if status != SUCCESS:
        raise DestinationError(f"{where} answered C-ECHO with 0x{status:04X}")
    if not taken:
        raise DestinationError(f"{where} answers C-ECHO, but takes none of our objects")
    if destination.storage_commitment and not commits:
        raise DestinationError(
            f"{where} does not accept Storage Commitment, so that nothing would ever count as "
            "delivered. Let it, or set storage_commitment to false."
        )
    and_commits = ", and commits itself" if destination.storage_commitment else ""
    return f"{where} answers C-ECHO and takes {', '.join(taken)}{and_commits}"


def _try(destination: MessageDestination) -> str:
    """Try the template of a receiver of messages, and whether it answers; nothing is sent to it.

    Raises:
        DestinationError: the template makes no message, or the receiver does not answer.
    """
    try:
        tried = try_receiver(destination)
    except MessageTemplateError as exc:
        raise DestinationError(str(exc)) from exc
    except NoResponseError as exc:
        advice = _ADVICE | _WEB_ADVICE | _MESSAGE_ADVICE
        raise DestinationError(f"it does not answer: {advice.get(str(exc), exc)}") from exc
    if not tried.is_right:
        raise DestinationError(tried.text)
    if tried.http_status is None or httpx.codes.is_success(tried.http_status):
        return tried.text
    if tried.http_status in _MAY_STILL_TAKE:
        return f"{tried.text} (HTTP {tried.http_status}): a report will show what it takes"
    advice_on_status = _STATUS_ADVICE.get(tried.http_status, "")
    raise DestinationError(f"{tried.text} (HTTP {tried.http_status}). {advice_on_status}".rstrip())


def _query(destination: WebDestination) -> str:
    """Query a DICOMweb service for one study (QIDO-RS), to see whether it lets us in.

    Nothing can be stored on trial, so what it would accept stays unknown.

    Raises:
        DestinationError: it cannot be reached, or refuses the query.
    """
    where = destination.url
    try:
        with stow_rs.open_service(destination) as service:
            status = service.query()
    except NoResponseError as exc:
        raise DestinationError(
            f"{where} does not answer: {_WEB_ADVICE.get(str(exc), exc)}"
        ) from exc
    if httpx.codes.is_success(status):
        return f"{where} answers a query (QIDO-RS)"
    if status in _MAY_STILL_STORE:
        return f"{where} answers, but to no query (HTTP {status}): a report will show what it takes"
    raise DestinationError(
        f"{where} answers a query with HTTP {status}. {_STATUS_ADVICE.get(status, '')}".rstrip()
    )


def load_bundle(settings: Settings) -> list[CheckResult]:
    """Load the bundle as the infer worker would, run it, and return all faults found.

    The bundle of a shadow model is loaded likewise.
    """
    results = [*_inspected(settings.bundle), *_reference(settings.bundle)]
    shadow = settings.shadow.bundle
    if shadow is not None:
        results += [
            replace(each, subject=f"shadow model's {each.subject}") for each in _inspected(shadow)
        ]
    return results


def _inspected(bundle: BundleSettings) -> list[CheckResult]:
    from workers.inference.pins import check_results  # noqa: PLC0415 -- as below

    pinned = check_results(bundle)
    if any(each.severity == _ERROR for each in pinned):
        return pinned  # what was changed is not executed
    from workers.inference.bundle_check import inspect  # noqa: PLC0415 -- torch and monai cost seconds

    return [*inspect(bundle), *pinned]


def _reference(bundle: BundleSettings) -> list[CheckResult]:
    """Return a note if the bundle's reference for drift cannot be used; it need not have one."""
    try:
        read_reference(bundle.path)
    except BadReferenceError as error:
        message = f"{REFERENCE} is not used for drift: {error}"
        return [CheckResult(subject="bundle", message=message, severity=_NOTE)]
    return []


_NOTE = 1  # see `CheckResult.severity`
_ERROR = 2


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
    dimse_tls.FILES_UNUSABLE: "a file of TLS cannot be used: see the check of its certificate.",
    dimse_tls.NOT_SPOKEN: "it speaks no TLS on this port. Has it another port for that?",
    dimse_tls.VERSION: "it speaks neither TLS 1.2 nor 1.3 with a cipher suite of PS3.15 B.12.",
    dimse_tls.NOT_TRUSTED: "its certificate is of no authority in tls_ca_file, or where that is "
    "not set, of none that the system trusts.",
    dimse_tls.EXPIRED: "its certificate has expired.",
    dimse_tls.OTHER_NAME: "its certificate does not bear the name of host: set tls_name to the one "
    "that it bears.",
    dimse_tls.OURS_REFUSED: "it refuses our certificate, or wants one: set tls_certificate_file to "
    "one of an authority that it trusts.",
    dimse_tls.HANDSHAKE_FAILED: "it ends the TLS handshake without a reason. Does it speak TLS on "
    "this port, and does it want a tls_certificate_file?",
}

_WEB_ADVICE = {
    UNKNOWN_HOST: "no name service knows its host.",
    NO_CONNECTION: "no connection. Is it running, and are host and port of its url right?",
    web_client.TLS_FAILED: "no TLS connection. Is its certificate of an authority that ca_file or "
    "the system trusts, is the name in it that of url, and does it want a client_certificate_file?",
    web_client.CONNECTION_LOST: "it hangs up. Does it speak TLS (https://), or want a "
    "client_certificate_file?",
    web_client.NO_ANSWER: "it takes the connection but does not answer.",
    web_client.TOKEN_UNREADABLE: "bearer_token_file cannot be read, or holds no bearer token.",
    web_client.CA_UNREADABLE: "ca_file cannot be read, or holds no certificate in PEM.",
    web_client.CERTIFICATE_UNREADABLE: "client_certificate_file and client_key_file cannot be "
    "read, do not belong together, or the key has a password.",
}
_MESSAGE_ADVICE = {
    sender.TEMPLATE_UNUSABLE: "template_file cannot be used.",
    smtp.NO_STARTTLS: "it has no STARTTLS: is its TLS on another port (start_tls = false)?",
    smtp.SIGN_IN_REFUSED: "it does not let user in with this password.",
    smtp.GREETING_REFUSED: "it takes the connection, but does not greet as a mail server does.",
    sender.SECRET_UNREADABLE: "the file of its key or password cannot be read, or holds none.",
}
_MAY_STILL_TAKE = frozenset({400, 404, 405, 501})  # it does not know OPTIONS
_MAY_STILL_STORE = frozenset({400, 405, 406, 501})
_STATUS_ADVICE = {
    301: "Set url to the address that it redirects to: no redirect is followed.",
    302: "Set url to the address that it redirects to: no redirect is followed.",
    307: "Set url to the address that it redirects to: no redirect is followed.",
    308: "Set url to the address that it redirects to: no redirect is followed.",
    401: "Is bearer_token or bearer_token_file given, right, and not expired?",
    403: "Does it know the token or the certificate, and may their owner query and store?",
    404: "Is the path of url right? Many have one, such as /dicom-web.",
    429: "It is asked too often.",
    503: "It says that it is out of service.",
}
