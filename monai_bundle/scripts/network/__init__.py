"""The network that reads a prepared radiograph, and its weights."""
