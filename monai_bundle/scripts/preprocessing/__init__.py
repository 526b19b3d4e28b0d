"""Read a radiograph from a file and prepare it for the network."""
