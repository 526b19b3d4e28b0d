"""Code of the bundle, from the bytes of a radiograph to a probability and from data to weights."""
