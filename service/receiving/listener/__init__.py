"""The door for a PACS: who may associate, C-ECHO, C-STORE, storage commitment."""

from service.receiving.listener.server import Listener

__all__ = ["Listener"]
