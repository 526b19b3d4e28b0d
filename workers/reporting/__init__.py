"""Report: build the outputs of a conclusion."""
