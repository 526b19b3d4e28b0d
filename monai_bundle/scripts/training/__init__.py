"""Train the network and its gate, and package the weights."""
