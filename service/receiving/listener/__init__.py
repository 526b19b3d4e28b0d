"""The DICOM listener: associations, C-ECHO, C-STORE, storage commitment."""

from service.receiving.listener.server import Listener

__all__ = ["Listener"]
