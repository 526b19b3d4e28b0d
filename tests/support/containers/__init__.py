"""Containers without an engine: processes with a root, a network and rights of their own."""
