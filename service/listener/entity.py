"""Who the listener is and what it takes: the application entity, from the settings."""

import ipaddress
import logging
from typing import Final

import pynetdicom
import pynetdicom._config
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from service.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.settings import LOOPBACK_HOSTS, ConfigurationError, Dicom
from service.sop_classes import TRANSFER_SYNTAXES

_NEVER: Final = logging.CRITICAL + 1


def application_entity(dicom: Dicom) -> AE:
    """Give pynetdicom's application entity for these settings.

    Raises:
        ConfigurationError: strangers could store, and nobody said that they may.
    """
    require_guest_list(dicom)
    entity = AE(ae_title=dicom.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_pdu_size = dicom.maximum_pdu_bytes
    entity.maximum_associations = dicom.maximum_associations
    entity.acse_timeout = dicom.acse_seconds
    entity.dimse_timeout = dicom.dimse_seconds
    entity.network_timeout = dicom.network_seconds
    entity.require_called_aet = dicom.require_called_ae_title
    if not dicom.allow_any_calling_ae_title:
        entity.require_calling_aet = list(dicom.allowed_calling_ae_titles)
    for sop_class in dicom.sop_classes:
        entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
    entity.add_supported_context(Verification)
    return entity


def require_guest_list(dicom: Dicom) -> None:
    """Hold that a listener others can reach knows whom to expect.

    Raises:
        ConfigurationError: it does not, and was not told that anyone may come.
    """
    if dicom.allowed_calling_ae_titles or dicom.allow_any_calling_ae_title:
        return
    if not is_loopback(dicom.host):
        raise ConfigurationError(
            f"dicom.host is {dicom.host}, which others can reach: list the senders in "
            "dicom.allowed_calling_ae_titles, or set dicom.allow_any_calling_ae_title to true."
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach the host."""
    try:
        return host in LOOPBACK_HOSTS or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def silence_pynetdicom() -> None:
    """Keep pynetdicom's own log quiet.

    It quotes AE titles, UIDs and, when asked for detail, data sets. What an operator must know of
    an association is logged here instead.
    """
    pynetdicom._config.LOG_HANDLER_LEVEL = "none"  # noqa: SLF001 -- the name under which it is documented
    logger = logging.getLogger("pynetdicom")
    logger.setLevel(_NEVER)
    logger.propagate = False
