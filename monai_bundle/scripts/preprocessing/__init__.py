"""Decode a radiograph and prepare it as the network's input."""
