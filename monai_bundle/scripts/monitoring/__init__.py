"""The reference that a service compares its own radiographs with, to see when they change."""
