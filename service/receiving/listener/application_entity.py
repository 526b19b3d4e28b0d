"""Build the listener's application entity from the settings: its name, limits and contexts."""

from typing import Final

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from service.dicom.connection_end import close_refused_and_reset_sockets
from service.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.dicom.sop_classes import transfer_syntaxes
from service.dicom.storage_commitment import STORAGE_COMMITMENT, SYNTAXES
from service.settings import ConfigurationError, DicomSettings
from service.settings.exposure import listener_fault

_NO_LIMIT: Final = 1 << 30

_config.LOG_HANDLER_LEVEL = "none"  # its handlers would format each PDU for a log that is silenced


def _context_id(context: PresentationContext) -> int | None:
    return context._context_id  # noqa: SLF001 -- as below


def _set_context_id(context: PresentationContext, value: int | None) -> None:
    context._context_id = value  # noqa: SLF001 -- its setter refuses what DCMTK accepts


close_refused_and_reset_sockets()
# ids are to be odd (PS3.8 9.3.2.2), but some senders use others, and nothing depends on it
PresentationContext.context_id = property(  # type: ignore[method-assign,assignment]  # for all
    _context_id, _set_context_id
)


def application_entity(dicom: DicomSettings) -> AE:
    """Build pynetdicom's application entity.

    Raises:
        ConfigurationError: any machine could store, and no setting allows that.
    """
    fault = listener_fault(dicom)
    if fault is not None:
        raise ConfigurationError(fault)
    entity = AE(ae_title=dicom.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_pdu_size = dicom.maximum_pdu_bytes
    entity.maximum_associations = _NO_LIMIT  # `connections.limits` counts them
    entity.acse_timeout = dicom.acse_seconds
    entity.network_timeout = dicom.network_seconds
    entity.require_called_aet = dicom.require_called_ae_title
    if not dicom.allow_any_calling_ae_title and not dicom.senders:  # else `sender_rules` decide
        entity.require_calling_aet = list(dicom.allowed_calling_ae_titles)
    for sop_class in dicom.sop_classes:
        entity.add_supported_context(sop_class, list(transfer_syntaxes(sop_class)))
    entity.add_supported_context(
        STORAGE_COMMITMENT,
        list(SYNTAXES),
        scu_role=True,  # a sender that requests our commitment
        scp_role=True,  # a destination that reports its own, on an association of its own
    )
    entity.add_supported_context(Verification, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    return entity
