"""Define the network, load its weights and run it."""
