"""Synthetic instances and headers of nobody, and the same in every transfer syntax."""
