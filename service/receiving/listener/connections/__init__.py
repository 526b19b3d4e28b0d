"""Connections of the listener: accepted, bounded, and held without a thread until they ask."""
