"""Synthetic instances and headers, in every transfer syntax."""
