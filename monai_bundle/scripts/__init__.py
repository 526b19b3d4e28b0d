"""The bundle's own transforms and commands, from a radiograph's bytes to a probability."""
